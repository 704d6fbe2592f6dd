-- Format 3: the nonces of requests that clients signed themselves and that were decided: each is decided once, for ever.
CREATE TABLE nonce (
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    nonce  TEXT NOT NULL,
    PRIMARY KEY (tenant, client, nonce)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER nonce_is_kept BEFORE UPDATE ON nonce
    BEGIN SELECT RAISE(ABORT, 'a nonce is never changed'); END;
CREATE TRIGGER nonce_stays BEFORE DELETE ON nonce
    BEGIN SELECT RAISE(ABORT, 'a nonce is never removed'); END;
