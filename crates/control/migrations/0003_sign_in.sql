-- Sign-ins of people that have begun and not ended. A row is deleted when it is taken, which ends it,
-- and when it is too old. Nothing in it lets somebody who reads it end the sign-in.
CREATE TABLE sign_ins (
    state_hash   BYTEA PRIMARY KEY,    -- SHA-256 of the state, 256 random bits
    binding_hash BYTEA NOT NULL,       -- SHA-256 of the binding, 256 random bits
    sealed       BYTEA NOT NULL,       -- nonce and PKCE verifier, under a key made of state and binding
    redirect_uri TEXT NOT NULL,        -- where the browser comes back to
    begun_at     BIGINT NOT NULL,      -- milliseconds since 1970 UTC
    expires_at   BIGINT NOT NULL       -- ten minutes later
);
CREATE INDEX sign_ins_by_age ON sign_ins (begun_at);
CREATE INDEX sign_ins_by_end ON sign_ins (expires_at);
