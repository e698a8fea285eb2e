-- Version 1. Times are milliseconds since the epoch; JSON is TEXT, byte for byte as it came.

CREATE TABLE policy (
    id TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,              -- the newest one
    inactivity_timeout INTEGER,             -- of the newest one, milliseconds
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE policy_revision (
    policy TEXT NOT NULL REFERENCES policy (id) ON DELETE CASCADE,
    revision INTEGER NOT NULL,
    at INTEGER NOT NULL,
    inactivity_timeout INTEGER,
    namespaces TEXT NOT NULL,
    settings TEXT NOT NULL,
    data TEXT NOT NULL,
    UNIQUE (policy, revision)
) STRICT;

CREATE TABLE api_key (
    id TEXT NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),    -- enrollment, access, admin
    owner TEXT,                                         -- token, agent, none
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,
    name TEXT NOT NULL,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    invalidated_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_owner ON api_key (owner) WHERE owner IS NOT NULL;

CREATE TABLE enrollment_token (
    id TEXT NOT NULL PRIMARY KEY,
    api_key TEXT NOT NULL UNIQUE REFERENCES api_key (id),
    name TEXT NOT NULL,
    policy TEXT NOT NULL,                   -- may be deleted; the token stays on record
    namespaces TEXT NOT NULL,
    active INTEGER NOT NULL CHECK (active IN (0, 1)),
    expires_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX enrollment_token_policy ON enrollment_token (policy);
CREATE INDEX enrollment_token_created_at ON enrollment_token (created_at);

-- What seldom changes or is large.
CREATE TABLE agent (
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    policy_base TEXT NOT NULL,
    reported_policy TEXT,
    namespaces TEXT NOT NULL,
    access_key TEXT NOT NULL UNIQUE REFERENCES api_key (id),
    enrollment_id TEXT UNIQUE,
    host_name TEXT COLLATE NOCASE,          -- out of local_metadata, for searching
    tags TEXT NOT NULL,
    replace_token TEXT,
    audit_time TEXT,
    unenrolled_at INTEGER,
    unenrolled_reason TEXT,
    upgrade_details TEXT,
    upgrade_attempts TEXT,
    rollbacks TEXT,
    local_metadata TEXT,
    components TEXT
) STRICT;

-- What a check-in writes, what the status depends on and what lists are sorted by: small rows.
CREATE TABLE presence (
    agent TEXT NOT NULL PRIMARY KEY REFERENCES agent (id) ON DELETE CASCADE,
    is_active INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    policy TEXT NOT NULL,
    policy_revision INTEGER,
    enrolled_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_checkin INTEGER,
    last_checkin_status TEXT,
    last_checkin_message TEXT,
    unhealthy_reason TEXT NOT NULL DEFAULT '[]',
    action_position INTEGER,
    version TEXT NOT NULL,
    upgrade_started_at INTEGER,
    upgraded_at INTEGER,
    unenrollment_started_at INTEGER,
    audit_reason TEXT,
    -- The status as far as it does not depend on the clock: place in AgentStatus::ALL (data.md 6.1).
    state INTEGER NOT NULL GENERATED ALWAYS AS (CASE
        WHEN is_active = 0 THEN 0
        WHEN audit_reason = 'uninstall' THEN 2
        WHEN audit_reason = 'orphaned' THEN 3
        WHEN coalesce(policy_revision, 0) = 0 THEN 5
        WHEN upgrade_started_at IS NOT NULL AND upgraded_at IS NULL THEN 5
        WHEN last_checkin IS NULL THEN 6
        WHEN unenrollment_started_at IS NOT NULL THEN 7
        WHEN last_checkin_status = 'error' THEN 8
        WHEN last_checkin_status = 'degraded' THEN 9
        ELSE 10
    END) STORED,
    -- The five minutes in which it was last heard of, counted from the epoch (rounded down, also before it).
    heard INTEGER NOT NULL GENERATED ALWAYS AS (
        (coalesce(last_checkin, enrolled_at)
            - (coalesce(last_checkin, enrolled_at) % 300000 + 300000) % 300000) / 300000
    ) STORED
) STRICT, WITHOUT ROWID;
CREATE INDEX presence_enrolled_at ON presence (enrolled_at);
CREATE INDEX presence_last_checkin ON presence (is_active, last_checkin);
CREATE INDEX presence_never_checked_in ON presence (enrolled_at)
    WHERE is_active = 1 AND last_checkin IS NULL;
CREATE INDEX presence_policy ON presence (policy);
CREATE INDEX presence_version ON presence (version);
CREATE INDEX presence_state ON presence (state);

-- How many agents share assigned policy, confirmed revision (-1: none), state and the five minutes in which they
-- were last heard of, kept by triggers, so that counting a million agents does not read a million rows.
CREATE TABLE census (
    policy TEXT NOT NULL,
    revision INTEGER NOT NULL,
    state INTEGER NOT NULL,
    has_checked_in INTEGER NOT NULL,
    heard INTEGER NOT NULL,
    agents INTEGER NOT NULL,
    PRIMARY KEY (policy, revision, state, has_checked_in, heard)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER presence_enters AFTER INSERT ON presence BEGIN
    INSERT INTO census (policy, revision, state, has_checked_in, heard, agents)
    VALUES (new.policy, coalesce(new.policy_revision, -1), new.state, new.last_checkin IS NOT NULL, new.heard, 1)
    ON CONFLICT (policy, revision, state, has_checked_in, heard) DO UPDATE SET agents = agents + 1;
END;

CREATE TRIGGER presence_leaves AFTER DELETE ON presence BEGIN
    UPDATE census SET agents = agents - 1
    WHERE policy = old.policy AND revision = coalesce(old.policy_revision, -1) AND state = old.state
        AND has_checked_in = (old.last_checkin IS NOT NULL) AND heard = old.heard;
    DELETE FROM census
    WHERE policy = old.policy AND revision = coalesce(old.policy_revision, -1) AND state = old.state
        AND has_checked_in = (old.last_checkin IS NOT NULL) AND heard = old.heard AND agents = 0;
END;

CREATE TRIGGER presence_moves AFTER UPDATE ON presence
WHEN old.heard <> new.heard OR old.state <> new.state OR old.policy <> new.policy
    OR old.policy_revision IS NOT new.policy_revision
    OR (old.last_checkin IS NULL) <> (new.last_checkin IS NULL)
BEGIN
    UPDATE census SET agents = agents - 1
    WHERE policy = old.policy AND revision = coalesce(old.policy_revision, -1) AND state = old.state
        AND has_checked_in = (old.last_checkin IS NOT NULL) AND heard = old.heard;
    DELETE FROM census
    WHERE policy = old.policy AND revision = coalesce(old.policy_revision, -1) AND state = old.state
        AND has_checked_in = (old.last_checkin IS NOT NULL) AND heard = old.heard AND agents = 0;
    INSERT INTO census (policy, revision, state, has_checked_in, heard, agents)
    VALUES (new.policy, coalesce(new.policy_revision, -1), new.state, new.last_checkin IS NOT NULL, new.heard, 1)
    ON CONFLICT (policy, revision, state, has_checked_in, heard) DO UPDATE SET agents = agents + 1;
END;

CREATE TABLE action (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,     -- never reused (M1)
    doc TEXT NOT NULL UNIQUE,
    action TEXT NOT NULL,
    kind TEXT NOT NULL,
    is_deliverable INTEGER NOT NULL CHECK (is_deliverable IN (0, 1)),
    at INTEGER NOT NULL,
    expiration INTEGER,
    start_time INTEGER,
    rollout_duration_seconds INTEGER,
    timeout INTEGER,
    input_type TEXT,
    user_id TEXT,
    namespaces TEXT NOT NULL,
    traceparent TEXT,
    target_count INTEGER NOT NULL,
    data TEXT,
    signed TEXT,
    targets TEXT NOT NULL                           -- last: only read when asked for
) STRICT;
CREATE INDEX action_action ON action (action);
CREATE INDEX action_expiration ON action (expiration) WHERE expiration IS NOT NULL;

-- One entry for each target of a deliverable action; removed with the action or the agent.
CREATE TABLE agent_queue (
    agent TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    place INTEGER NOT NULL,                         -- among the targets, from 0
    PRIMARY KEY (agent, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE action_result (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    action TEXT NOT NULL,
    agent TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    error TEXT,
    namespaces TEXT NOT NULL,
    details TEXT,
    UNIQUE (action, agent)
) STRICT;
CREATE INDEX action_result_action ON action_result (action);

CREATE TABLE change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,     -- never reused (M1), without holes
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 5),
    id TEXT NOT NULL
) STRICT;

-- Written to find out whether the disk takes writes again.
CREATE TABLE probe (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    attempts INTEGER NOT NULL
) STRICT;
INSERT INTO probe (one, attempts) VALUES (1, 0);
