-- Whose wish an order was, so that one who asks again with the same idempotency key finds it.

-- Who asked for it, by the caller's stable id; NULL: nobody, and in rows from before. Written when it
-- begins.
ALTER TABLE orders ADD COLUMN asked_by TEXT;

-- SHA-256 of the idempotency key that it was asked for with; NULL without one. Written when it begins.
ALTER TABLE orders ADD COLUMN key_hash BYTEA;
