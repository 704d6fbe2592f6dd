-- Format 3: what officers said about pending requests, written once, and when a request that waits is decided again.
CREATE TABLE approval (
    request BLOB NOT NULL REFERENCES request (id),
    leaf    INTEGER NOT NULL REFERENCES leaf (idx),
    officer TEXT NOT NULL,
    act     TEXT NOT NULL CHECK (act IN ('approve', 'veto')),
    bundle  BLOB NOT NULL CHECK (length(bundle) = 32),
    record  BLOB NOT NULL,
    PRIMARY KEY (request, leaf),
    UNIQUE (request, officer, act, bundle)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER approval_in_time BEFORE INSERT ON approval
    WHEN (SELECT state FROM request WHERE id = NEW.request) IS NOT 'pending'
    BEGIN SELECT RAISE(ABORT, 'only what is pending is spoken about'); END;
CREATE TRIGGER approval_is_kept BEFORE UPDATE ON approval
    BEGIN SELECT RAISE(ABORT, 'an approval is never changed'); END;
CREATE TRIGGER approval_stays BEFORE DELETE ON approval
    BEGIN SELECT RAISE(ABORT, 'an approval is never removed'); END;

ALTER TABLE request ADD COLUMN again_ms INTEGER;
CREATE INDEX request_by_again ON request (again_ms) WHERE state = 'pending' AND again_ms IS NOT NULL;
DROP TRIGGER request_keeps;
CREATE TRIGGER request_keeps BEFORE UPDATE OF
    seq, id, tenant, client, wallet, request_digest, signing_digest, record ON request
    BEGIN SELECT RAISE(ABORT, 'what was asked and decided is never changed'); END;
CREATE TRIGGER request_decided_again BEFORE UPDATE OF decision_leaf, decided_ms ON request
    WHEN OLD.state <> 'pending' OR NEW.state NOT IN ('permitted', 'denied') OR NEW.decided_ms < OLD.decided_ms
    BEGIN SELECT RAISE(ABORT, 'only what is pending is decided again'); END;
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
