-- Tables of control. Instants are milliseconds since 1970 UTC, flags 0 or 1, lists JSON.

-- Where policies are served from. Never deleted from.
CREATE TABLE regions (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,             -- for people
    host        TEXT NOT NULL,             -- claims' CNAME targets end in it; never changes
    reports     TEXT NOT NULL DEFAULT '',  -- mailbox for TLS-RPT; empty: not configured
    sealing_key BYTEA NOT NULL,            -- raw X25519 public key
    disabled    BIGINT NOT NULL DEFAULT 0, -- 1: takes no new domains
    created_at  BIGINT NOT NULL,
    -- While the records of its claims are written again, after its mailbox has changed: the last
    -- claim that has been; null when none are to be.
    rewriting_after TEXT
);

-- Every name that was ever claimed. Never deleted from: removing and adding again, or a new owner,
-- must not start again at revision 1 or use an id twice.
CREATE TABLE names (
    domain        TEXT PRIMARY KEY,           -- lower-case A-label
    last_revision BIGINT NOT NULL DEFAULT 0,  -- highest policy revision ever given
    owner_claim   TEXT                        -- the claim that is proven now
);

-- One workspace's claim to one name, with its hosting. A removed claim stays as a row.
CREATE TABLE claims (
    id                 TEXT PRIMARY KEY,
    workspace          TEXT NOT NULL,
    domain             TEXT NOT NULL REFERENCES names (domain),
    kind               TEXT NOT NULL,          -- standard, parked
    nonce              TEXT NOT NULL UNIQUE,   -- retired with the claim, never used again
    created_at         BIGINT NOT NULL,
    removed_at         BIGINT,
    proven_at          BIGINT,
    region             TEXT REFERENCES regions (id),  -- null: hosting is off
    stopping_since     BIGINT,
    testing_since      BIGINT,
    revision           BIGINT,                 -- the current version of the policy
    announced_revision BIGINT,                 -- the version whose id may be published
    -- What dns last said, for `stopping` and for progress; never a proof.
    found_policy_id    TEXT NOT NULL DEFAULT '',
    none_visible_since BIGINT                  -- while stopping: since when senders can tell
);
CREATE UNIQUE INDEX claims_by_workspace ON claims (workspace, domain) WHERE removed_at IS NULL;
CREATE INDEX claims_by_domain ON claims (domain);

-- Every version of every name's policy, for ever: one body under one id.
CREATE TABLE versions (
    domain          TEXT NOT NULL REFERENCES names (domain),
    revision        BIGINT NOT NULL,
    claim           TEXT NOT NULL REFERENCES claims (id),
    policy_id       TEXT NOT NULL,
    mode            TEXT NOT NULL,
    mx              TEXT NOT NULL,             -- JSON array of patterns
    max_age_seconds BIGINT NOT NULL,
    placeholder     BIGINT NOT NULL,
    body            BYTEA NOT NULL,
    change          TEXT NOT NULL,
    changed_at      BIGINT NOT NULL,
    changed_by      TEXT NOT NULL,
    announced_at    BIGINT,                    -- when its id could first be published
    announced_until BIGINT,                    -- when its id was last seen in DNS
    last_served_at  BIGINT,                    -- the last fetch that any edge has told of
    PRIMARY KEY (domain, revision),
    UNIQUE (domain, policy_id)
);

-- The outbox: the newest document of each key. Never deleted from; a removal is a row without payload.
CREATE TABLE documents (
    bucket    TEXT NOT NULL,
    key       TEXT NOT NULL,
    revision  BIGINT NOT NULL,             -- counts the documents of this key
    payload   BYTEA,                       -- null: a tombstone
    position  BIGINT NOT NULL DEFAULT 0,   -- place in the bucket's feed; 0: none yet
    published BIGINT NOT NULL DEFAULT 0,   -- 1: this revision is on the bus
    PRIMARY KEY (bucket, key)
);
CREATE INDEX documents_to_publish ON documents (bucket, published, position);

-- One feed a bucket. Written by the publisher.
CREATE TABLE feeds (
    bucket     TEXT PRIMARY KEY,
    position   BIGINT NOT NULL DEFAULT 0,  -- the last one given
    generation TEXT NOT NULL DEFAULT ''    -- the bucket's life that holds all our documents
);

-- What each edge has last said of itself.
CREATE TABLE edges (
    id                    TEXT PRIMARY KEY,
    region                TEXT NOT NULL,
    revision              BIGINT NOT NULL,  -- of its last document
    policies_position     BIGINT NOT NULL,
    certificates_position BIGINT NOT NULL,
    domains               BIGINT NOT NULL,
    software              TEXT NOT NULL,
    refused               TEXT NOT NULL,    -- JSON array of {key, reason}
    heard_at              BIGINT NOT NULL   -- by control's clock
);
