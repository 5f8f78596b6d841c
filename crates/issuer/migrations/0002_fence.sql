-- What orders are fenced and counted by, and whose a name is.

-- How often the CA was asked for this order. With the step it tells whether the row still is as it
-- was read. `asked_at` is from here on when the CA was last asked.
ALTER TABLE orders ADD COLUMN times_asked BIGINT NOT NULL DEFAULT 0;

-- Thumbprint of the account that asked: each has a limit of its own. Empty in rows from before.
ALTER TABLE asks ADD COLUMN account TEXT NOT NULL DEFAULT '';

-- The claim that the policy is of; empty after a tombstone, and in rows from before. Another one may
-- be another workspace's. Written by follow.
ALTER TABLE policies ADD COLUMN claim TEXT NOT NULL DEFAULT '';

-- One row: a known value under the key-encryption key, to see at a start that it still is the key
-- that everything here is sealed with. Written at the first start.
CREATE TABLE key_check (
    id BIGINT PRIMARY KEY,
    sealed BYTEA NOT NULL
);
