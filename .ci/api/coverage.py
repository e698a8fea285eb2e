"""Whether each operation of a face was asked often enough, and answered with a success: coverage.py DOCUMENT ANSWERS."""

import json
import sys

LEAST = 20
# Never answered with a success here, each with its reason.
WITHOUT_SUCCESS = {
    "artifact": "needs a policy that lists it: crates/api/tests/it/artifacts.rs",
    "file": "needs a file that an operator laid down: crates/api/tests/it/files.rs",
    "opampConnection": "needs a client that speaks WebSocket: crates/fleet-server/tests/it/opamp_socket.rs",
    "uploadDownload": "needs a whole upload: crates/api/tests/it/agent_files.rs",
    "uploadDelete": "needs a whole upload: crates/api/tests/it/agent_files.rs",
}


def main(document: str, answers: str) -> int:
    document, answers = json.load(open(document)), json.load(open(answers))
    wrong = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = operation["operationId"]
            statuses = {int(status): count for status, count in answers.get(name, {}).items()}
            asked, well = sum(statuses.values()), sum(n for status, n in statuses.items() if status < 400)
            told = ", ".join(f"{status}: {statuses[status]}" for status in sorted(statuses))
            problem = ""
            # Without anything to choose there is one request.
            has_choice = "parameters" in operation or "requestBody" in operation
            if asked < (LEAST if has_choice else 1):
                problem = "  FAILED: asked too seldom"
            elif not well and name not in WITHOUT_SUCCESS:
                problem = "  FAILED: no success"
            wrong += bool(problem)
            print(f"  {name:<20} {asked:>5} asked, {well:>5} well ({told}){problem}")
    return min(wrong, 1)


sys.exit(main(*sys.argv[1:]))
