-- Version 3. Large bodies: a row for each file under blobs/.
CREATE TABLE blob (
    id TEXT NOT NULL PRIMARY KEY,
    file TEXT NOT NULL UNIQUE,              -- its name under blobs/
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    digest BLOB NOT NULL                    -- SHA-256
) STRICT, WITHOUT ROWID;

-- Kept by triggers, so that a quota does not read every row.
CREATE TABLE blob_total (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    blobs INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO blob_total (one, blobs, bytes) VALUES (1, 0, 0);

CREATE TRIGGER blob_enters AFTER INSERT ON blob BEGIN
    UPDATE blob_total SET blobs = blobs + 1, bytes = bytes + new.bytes;
END;

CREATE TRIGGER blob_leaves AFTER DELETE ON blob BEGIN
    UPDATE blob_total SET blobs = blobs - 1, bytes = bytes - old.bytes;
END;
