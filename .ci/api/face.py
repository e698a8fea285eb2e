"""Leaves of the document what one listener serves: face.py FACE < DOCUMENT > PART."""

import json
import sys

document = json.load(sys.stdin)
for path in list(document["paths"]):
    methods = document["paths"][path]
    document["paths"][path] = {name: method for name, method in methods.items() if sys.argv[1] in method["tags"]}
    if not document["paths"][path]:
        del document["paths"][path]
json.dump(document, sys.stdout)
