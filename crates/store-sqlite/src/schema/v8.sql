-- Version 8. Operators' keys have a role (place in OperatorRole::ALL) and may expire. Those of before are an admin's.
ALTER TABLE api_key ADD COLUMN role INTEGER CHECK (role BETWEEN 0 AND 2);
ALTER TABLE api_key ADD COLUMN expires_at INTEGER;
UPDATE api_key SET role = 2 WHERE kind = 3;
CREATE INDEX api_key_operators ON api_key (created_at, id) WHERE kind = 3;
