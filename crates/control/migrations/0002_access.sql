-- Who may do what. Instants are milliseconds since 1970 UTC, lists JSON.

-- Tenants. Never deleted from: an id is never used again.
CREATE TABLE workspaces (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,    -- for people
    created_at BIGINT NOT NULL,  -- 0: by this migration, which has no clock; the next start dates it
    closed_at  BIGINT            -- null: open
);
INSERT INTO workspaces (id, name, created_at) VALUES ('default', 'default', 0);
-- Whoever had domains before there were workspaces keeps them.
INSERT INTO workspaces (id, name, created_at)
    SELECT workspace, workspace, min(created_at) FROM claims
    WHERE workspace <> 'default' GROUP BY workspace;

-- Everybody who has ever signed in. Written at sign-in.
CREATE TABLE people (
    id           TEXT PRIMARY KEY,  -- random
    issuer       TEXT NOT NULL,     -- the sign-in provider
    subject      TEXT NOT NULL,     -- its own name for them, which never passes to somebody else
    email        TEXT,              -- verified by it, lower case; of the person who showed it last
    name         TEXT NOT NULL,     -- for people, as the provider gives it
    last_seen_at BIGINT,            -- their last call, to the minute
    UNIQUE (issuer, subject)
);
CREATE INDEX people_by_email ON people (email);
CREATE INDEX people_by_subject ON people (subject);

-- Roles that were given here, also to people who have not signed in yet.
CREATE TABLE members (
    workspace TEXT NOT NULL REFERENCES workspaces (id),
    who       TEXT NOT NULL,     -- lower-case e-mail address, or "sub:" and a provider's subject
    role      TEXT NOT NULL,     -- read-only, domain-manager, platform-admin
    domains   TEXT NOT NULL,     -- a Domain manager for these only; []: for all of the workspace
    added_at  BIGINT NOT NULL,
    added_by  TEXT NOT NULL,     -- for people
    PRIMARY KEY (workspace, who)
);
CREATE INDEX members_by_who ON members (who);
CREATE INDEX members_by_role ON members (role);

-- Roles that the sign-in provider has given, as it said at a person's last sign-in: replaced as a
-- whole then.
CREATE TABLE granted (
    person     TEXT NOT NULL REFERENCES people (id),
    workspace  TEXT NOT NULL REFERENCES workspaces (id),
    role       TEXT NOT NULL,    -- as in members
    domains    TEXT NOT NULL,    -- as in members
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (person, workspace)
);
CREATE INDEX granted_by_workspace ON granted (workspace);
CREATE INDEX granted_by_role ON granted (role);

-- API tokens and sign-ins. Of a token only its hash is kept. Rows go once nothing that was made with
-- them can be left.
CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,          -- the part of the token that is no secret
    hash         BYTEA NOT NULL UNIQUE,     -- SHA-256 of the whole token
    kind         TEXT NOT NULL,             -- api, sign-in
    name         TEXT NOT NULL,             -- for people
    workspace    TEXT REFERENCES workspaces (id),  -- null for a sign-in: all of its person's
    role         TEXT NOT NULL,             -- as in members; empty for a sign-in: all of its person's
    domains      TEXT NOT NULL,             -- as in members
    owner        TEXT NOT NULL,             -- "person:" and people.id, or "admin"
    made_with    TEXT NOT NULL DEFAULT '',  -- the token that it was made with; empty at sign-in
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    last_used_at BIGINT,                    -- to the minute
    revoked_at   BIGINT,
    revoked_by   TEXT NOT NULL DEFAULT ''   -- for people
);
CREATE INDEX tokens_by_workspace ON tokens (workspace, created_at);
CREATE INDEX tokens_by_owner ON tokens (owner, created_at);
CREATE INDEX tokens_by_maker ON tokens (made_with);
CREATE INDEX tokens_by_end ON tokens (expires_at);
