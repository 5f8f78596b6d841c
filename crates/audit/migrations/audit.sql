-- Tables of records of changes, inside the database of the service that makes the changes. Instants
-- are milliseconds since 1970 UTC.

-- What was changed. Rows are only ever added, in the transaction of the change.
CREATE TABLE audit_records (
    workspace    TEXT NOT NULL,    -- whose chain; 'platform': of none; '*': the register of chains
    sequence     BIGINT NOT NULL,  -- place in the chain, from 1 without gaps
    at           BIGINT NOT NULL,
    who          TEXT NOT NULL,    -- for people
    who_id       TEXT NOT NULL,    -- stable
    role         TEXT NOT NULL,    -- what the caller was, for example domain-manager; empty: no caller
    from_address TEXT NOT NULL,    -- IP address that the call came from; empty: none is known
    request_id   TEXT NOT NULL,    -- of the call; empty: nobody asked for it
    action       TEXT NOT NULL,    -- what was done, for example policy.promote
    about        TEXT NOT NULL,    -- what it was done to, for example a domain
    before       TEXT,             -- JSON, as it was; null: there was nothing
    after        TEXT,             -- JSON, as it is since; null: nothing is left
    hash         BYTEA NOT NULL,   -- SHA-256 over all of this and the hash of the record before
    PRIMARY KEY (workspace, sequence)
);
CREATE INDEX audit_records_by_time ON audit_records (workspace, at, sequence);
CREATE INDEX audit_records_by_about ON audit_records (workspace, about, at, sequence);

-- The end of each chain. Its row is what a writer locks.
CREATE TABLE audit_heads (
    workspace TEXT PRIMARY KEY,
    sequence  BIGINT NOT NULL,  -- of the last record
    hash      BYTEA NOT NULL,   -- of the last record
    seal      BYTEA NOT NULL    -- HMAC-SHA256 over this row, under a key that is not in the database
);

-- Idempotency keys that were used in the last 24 hours. Written in the transaction of the change,
-- the answer a moment later.
CREATE TABLE calls (
    key          BYTEA PRIMARY KEY,  -- SHA-256 over caller, workspace and the key's own hash
    request_hash BYTEA NOT NULL,     -- SHA-256 over method and message
    method       TEXT NOT NULL,      -- for people: /dmarcer.control.v1.DomainService/AddDomain
    at           BIGINT NOT NULL,    -- when it was first used
    answer       BYTEA               -- encrypted with what only the caller has; null: not kept
);
CREATE INDEX calls_by_time ON calls (at);
