-- Claims whose records are looked for. A removed claim's row stays, so that an older document does
-- not bring it back.
CREATE TABLE watched (
    -- The claim.
    claim_id      TEXT   NOT NULL PRIMARY KEY,
    -- Revision of the envelope that this row was last written from. Only a higher one is taken.
    revision      BIGINT NOT NULL,
    -- 1 once control has removed it.
    removed       BIGINT NOT NULL DEFAULT 0,
    -- The workspace that sees the result; empty in a removed row.
    workspace_id  TEXT   NOT NULL,
    -- Lower-case A-label; empty in a removed row.
    domain        TEXT   NOT NULL,
    -- The encoded RecordsDocument; empty in a removed row.
    document      BYTEA  NOT NULL,
    -- When this row was last written from a document, in milliseconds since 1970.
    changed_at    BIGINT NOT NULL,
    -- When to look next, in milliseconds since 1970. Written by each look.
    next_check_at BIGINT NOT NULL,
    -- The pause before that, without jitter, in milliseconds.
    pause_ms      BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX watched_due ON watched (removed, next_check_at);
CREATE INDEX watched_domain ON watched (workspace_id, domain);

-- What senders find of each record, by the last look. Written by each look, in one transaction
-- with the status document.
CREATE TABLE records (
    claim_id     TEXT   NOT NULL,
    -- 'cname', 'sts' or 'tls_rpt'.
    kind         TEXT   NOT NULL,
    -- What was to be published when `status` was found; empty when nothing was.
    value        TEXT   NOT NULL,
    -- 'live', 'mismatch', 'not_published', 'region_intake_not_configured'; empty before the first
    -- look that got an answer.
    status       TEXT   NOT NULL,
    -- What was found then, at most 1,000 bytes.
    found        TEXT   NOT NULL,
    -- A sentence on what to do; empty for none.
    hint         TEXT   NOT NULL,
    -- Its stable code; empty for none.
    hint_code    TEXT   NOT NULL,
    -- Since when `status` is what it is, in milliseconds since 1970; 0 before the first.
    status_since BIGINT NOT NULL,
    -- When DNS was last asked, in milliseconds since 1970.
    checked_at   BIGINT NOT NULL,
    -- Why the last look got no answer; empty when it got one.
    check_error  TEXT   NOT NULL,
    PRIMARY KEY (claim_id, kind)
);

-- The documents of bucket `dns-status`. A row is its own outbox.
CREATE TABLE statuses (
    -- The claim, and the document's key.
    claim_id  TEXT   NOT NULL PRIMARY KEY,
    -- Counts the documents of this key from 1, for ever.
    revision  BIGINT NOT NULL,
    -- The encoded DnsStatusDocument; NULL for a tombstone.
    document  BYTEA,
    -- Its place in the feed; 0 until it is given one, just before it is published.
    position  BIGINT NOT NULL DEFAULT 0,
    -- 1 once the bus has it.
    published BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX statuses_outbox ON statuses (published, position);

-- One row: how far the feed of bucket `dns-status` is.
CREATE TABLE feed (
    bucket     TEXT   NOT NULL PRIMARY KEY,
    -- The last position given.
    position   BIGINT NOT NULL,
    -- The life of the bucket for which `published` is kept; empty before the first time.
    generation TEXT   NOT NULL
);
INSERT INTO feed (bucket, position, generation) VALUES ('dns-status', 0, '');
