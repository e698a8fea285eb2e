-- Version 4. Files that agents send. A chunk is a body named by its upload and number.
CREATE TABLE upload (
    id TEXT NOT NULL UNIQUE,
    file TEXT NOT NULL UNIQUE,
    action TEXT NOT NULL,
    agent TEXT NOT NULL,                    -- may be gone; its files stay
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    bytes INTEGER NOT NULL CHECK (bytes > 0),
    chunk_bytes INTEGER NOT NULL CHECK (chunk_bytes > 0),
    namespaces TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),   -- place in UploadState::ALL
    ended_at INTEGER,
    transit BLOB,
    stored INTEGER NOT NULL DEFAULT 0,      -- bytes of its chunks
    document_bytes INTEGER NOT NULL,
    document TEXT NOT NULL                  -- last: may be large, only read when asked for
) STRICT;
CREATE INDEX upload_agent ON upload (agent, started_at);
CREATE INDEX upload_started_at ON upload (started_at);
CREATE INDEX upload_state ON upload (state, started_at, bytes, stored, document_bytes);
CREATE INDEX upload_ended_at ON upload (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE upload_chunk (
    upload TEXT NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    blob TEXT NOT NULL REFERENCES blob (id),
    PRIMARY KEY (upload, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_chunk_blob ON upload_chunk (blob);
