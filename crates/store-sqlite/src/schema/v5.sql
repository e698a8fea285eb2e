-- Files for agents. The bytes are a body.
CREATE TABLE agent_file (
    id TEXT NOT NULL PRIMARY KEY,
    blob TEXT NOT NULL UNIQUE REFERENCES blob (id),
    name TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    library TEXT,                           -- none: for the agents it names
    agents TEXT NOT NULL,                   -- JSON array of ids
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_file_at ON agent_file (at);
