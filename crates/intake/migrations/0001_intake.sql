-- Tables of intake. Instants are milliseconds since 1970 UTC.

-- Batches that have been counted, so that one that comes twice is counted once.
CREATE TABLE batches (
    id         TEXT PRIMARY KEY,  -- given by the edge, unique for ever
    counted_at BIGINT NOT NULL
);
CREATE INDEX batches_by_time ON batches (counted_at);

-- Policy fetches per domain, UTC day, region and kind of client.
CREATE TABLE fetches (
    domain  TEXT NOT NULL,
    day     TEXT NOT NULL,    -- 2026-11-23
    region  TEXT NOT NULL,
    client  TEXT NOT NULL,
    fetches BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (domain, day, region, client)
);
