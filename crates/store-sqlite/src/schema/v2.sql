-- Version 2. What came of an action where `error` alone does not say it: 1, the agent has answered but it is not known
-- yet; 2, it was taken back. NULL, as in all rows of version 1: it failed if there is an error.
ALTER TABLE action_result ADD COLUMN outcome INTEGER CHECK (outcome IN (1, 2));
