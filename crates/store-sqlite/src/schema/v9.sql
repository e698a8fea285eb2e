-- Version 9. Who changed what. Rows are appended, and go when their time is over.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor_key TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    actor_role INTEGER NOT NULL,            -- place in OperatorRole::ALL
    action TEXT NOT NULL,
    target_kind TEXT,
    target TEXT,
    before TEXT,
    after TEXT,
    address TEXT,
    request TEXT NOT NULL
) STRICT;
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_target ON audit (target, number) WHERE target IS NOT NULL;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'an entry of the audit log is never changed');
END;
