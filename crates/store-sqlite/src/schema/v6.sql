-- Version 6. What only agents that speak OpAMP have, beside their rows in agent and presence.
CREATE TABLE collector (
    agent TEXT NOT NULL UNIQUE REFERENCES agent (id) ON DELETE CASCADE,
    admitted_to TEXT NOT NULL,              -- policy of the token that enrolled it
    service TEXT NOT NULL,
    sequence_num INTEGER,
    identifying_attributes TEXT,
    non_identifying_attributes TEXT,
    capabilities TEXT,
    health TEXT,
    remote_config_status TEXT,
    effective_config TEXT                   -- last: large, and not read with lists
) STRICT;
