-- Version 7. Secrets that policies and actions refer to, encrypted with a key that is not in this file.
CREATE TABLE secret (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    action TEXT,                            -- the document that it was made for, and goes with
    key TEXT NOT NULL,                      -- which key it was encrypted with
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX secret_action ON secret (action) WHERE action IS NOT NULL;
CREATE INDEX secret_created_at ON secret (created_at);
