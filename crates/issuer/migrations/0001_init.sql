-- Tables of the issuer, for SQLite and PostgreSQL alike. Instants are milliseconds since 1970-01-01
-- UTC, flags are 0 or 1, bytes are BYTEA.

-- Regions as control last announced them. Written by follow.
CREATE TABLE regions (
    region TEXT PRIMARY KEY,
    -- Of the newest envelope taken; an older one is never taken again, a removal neither.
    revision BIGINT NOT NULL,
    -- Raw X25519 key that private keys are sealed to; NULL once the region is removed.
    sealing_key BYTEA,
    -- SHA-256 of the key in hex, to see that it has changed; empty once removed.
    sealing_tag TEXT NOT NULL
);

-- Who hosts which domain, from the buckets `policies-<region>`. A name that moves is in two regions
-- for a while. Written by follow; rows stay after a removal, so that an older document can't return.
CREATE TABLE policies (
    domain TEXT NOT NULL,
    region TEXT NOT NULL,
    -- Of the newest envelope taken.
    revision BIGINT NOT NULL,
    -- Its place in the region's feed: edges that have passed it serve the name.
    position BIGINT NOT NULL,
    -- 1 while hosted, 0 after a tombstone.
    hosted BIGINT NOT NULL,
    PRIMARY KEY (domain, region)
);
CREATE INDEX policies_by_region ON policies (region, hosted, position);

-- Every domain for which something was ordered, for ever.
CREATE TABLE names (
    domain TEXT PRIMARY KEY,
    -- Whose claim control last confirmed; empty before. Written before each order.
    workspace TEXT NOT NULL,
    -- Orders in a row that the CA turned down; 0 after a success.
    failures BIGINT NOT NULL DEFAULT 0,
    -- No order by ourselves before this; 0: at once.
    retry_at BIGINT NOT NULL DEFAULT 0,
    -- Why the last order failed or does not go on, one sentence; empty after a success.
    last_error TEXT NOT NULL DEFAULT ''
);

-- The newest certificate of each domain. Written when an order succeeds.
CREATE TABLE certificates (
    domain TEXT PRIMARY KEY,
    -- The order that brought it; its id is part of the place that the key is sealed for.
    order_id TEXT NOT NULL,
    -- Who issued it, as in `authorities`: one of another authority is replaced at once.
    authority TEXT NOT NULL,
    -- PEM, leaf first.
    chain TEXT NOT NULL,
    -- PKCS #8 under the key-encryption key, for the place `orders.key:<order id>`.
    sealed_key BYTEA NOT NULL,
    -- Lower-case hex.
    serial TEXT NOT NULL,
    -- The issuer's name.
    issuer TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    -- When a successor is ordered.
    renew_at BIGINT NOT NULL
);
CREATE INDEX certificates_by_renewal ON certificates (renew_at);

-- Orders, for ever: the history that owners see, and the ledger of re-issues.
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    domain TEXT NOT NULL,
    -- The region that control confirmed.
    region TEXT NOT NULL,
    -- Who sees it.
    workspace TEXT NOT NULL,
    -- first, renewal or reissue.
    reason TEXT NOT NULL,
    -- new, asked, ordered, issued or failed.
    step TEXT NOT NULL,
    -- Thumbprint of the account that ordered, and the CA's URL of the order; empty before its answer.
    account TEXT NOT NULL DEFAULT '',
    order_url TEXT NOT NULL DEFAULT '',
    -- PKCS #8 under the key-encryption key, for the place `orders.key:<id>`; NULL once it has ended.
    sealed_key BYTEA,
    created_at BIGINT NOT NULL,
    -- When the CA was first asked; NULL before, and again if the question can't have reached it.
    asked_at BIGINT,
    finished_at BIGINT,
    -- While it is under way: not looked at before this; 0: at once.
    retry_at BIGINT NOT NULL DEFAULT 0,
    -- Times in a row that the CA did not answer.
    outages BIGINT NOT NULL DEFAULT 0,
    -- 1 if it is one of the owner's three in seven days.
    counts BIGINT NOT NULL,
    -- 1 if it failed because the CA did not find our answer to its challenge.
    validation_failed BIGINT NOT NULL DEFAULT 0,
    -- Why it failed, one sentence; empty unless it did.
    error TEXT NOT NULL DEFAULT '',
    -- Of the certificate that came, lower-case hex; empty before.
    serial TEXT NOT NULL DEFAULT ''
);
CREATE INDEX orders_by_domain ON orders (domain, created_at);

-- At most one order under way for a domain.
CREATE TABLE in_flight (
    domain TEXT PRIMARY KEY,
    order_id TEXT NOT NULL
);

-- Each time the CA was asked for a new order, for its limit on an account. Written before
-- asking; rows older than its window are removed.
CREATE TABLE asks (
    order_id TEXT NOT NULL,
    asked_at BIGINT NOT NULL
);
CREATE INDEX asks_by_time ON asks (asked_at);

-- What we are at an authority, one row each.
CREATE TABLE authorities (
    -- The ACME directory's URL; "local" for the local CA.
    name TEXT PRIMARY KEY,
    -- The account's credentials, or the local CA's PKCS #8 key, under the key-encryption key for the
    -- place `authorities.key:<name>`.
    sealed BYTEA NOT NULL,
    -- The account key's thumbprint (RFC 8555 section 8.1), or the local root in PEM.
    public_part TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The buckets that we write.
CREATE TABLE feeds (
    bucket TEXT PRIMARY KEY,
    -- The last position given.
    position BIGINT NOT NULL,
    -- The bus's name for the life of the bucket that holds all our documents; empty before.
    generation TEXT NOT NULL DEFAULT ''
);

-- What we have published, or are about to. Written by publish; rows stay after a removal, so that
-- revisions go on.
CREATE TABLE documents (
    bucket TEXT NOT NULL,
    doc_key TEXT NOT NULL,
    revision BIGINT NOT NULL,
    position BIGINT NOT NULL,
    -- What it holds: `<serial>/<sealing tag>` of a certificate, thumbprint of an account; empty for a
    -- tombstone.
    content TEXT NOT NULL,
    -- 1 until the bus has taken it.
    pending BIGINT NOT NULL,
    PRIMARY KEY (bucket, doc_key)
);
CREATE INDEX documents_by_position ON documents (bucket, position);
