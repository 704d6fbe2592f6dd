-- Format 6: the authority of each tenant's clients, and the certificates that it issued; both opaque here. A certificate is
-- written once, and taken back at most once, for ever.
CREATE TABLE authority (
    tenant     TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    leaf       INTEGER NOT NULL REFERENCES leaf (idx),
    record     BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER authority_is_kept BEFORE UPDATE ON authority
    BEGIN SELECT RAISE(ABORT, 'an authority is never changed'); END;
CREATE TRIGGER authority_stays BEFORE DELETE ON authority
    BEGIN SELECT RAISE(ABORT, 'an authority is never removed'); END;
CREATE TABLE certificate (
    tenant       TEXT NOT NULL REFERENCES authority (tenant),
    serial       BLOB NOT NULL CHECK (length(serial) = 20),
    client       TEXT NOT NULL,
    key          BLOB NOT NULL CHECK (length(key) = 32),
    until_ms     INTEGER NOT NULL,
    request      BLOB NOT NULL UNIQUE CHECK (length(request) = 16),
    leaf         INTEGER NOT NULL REFERENCES leaf (idx),
    der          BLOB NOT NULL,
    revoked_ms   INTEGER,
    revoked_leaf INTEGER REFERENCES leaf (idx),
    PRIMARY KEY (tenant, serial),
    UNIQUE (tenant, key),
    CHECK ((revoked_ms IS NULL) = (revoked_leaf IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX certificate_by_client ON certificate (tenant, client, serial);
CREATE INDEX certificate_by_end ON certificate (tenant, until_ms);
CREATE INDEX certificate_revoked ON certificate (tenant, until_ms) WHERE revoked_ms IS NOT NULL;
CREATE TRIGGER certificate_starts BEFORE INSERT ON certificate
    WHEN NEW.revoked_ms IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a certificate is issued before it is taken back'); END;
CREATE TRIGGER certificate_is_kept BEFORE UPDATE OF
    tenant, serial, client, key, until_ms, request, leaf, der ON certificate
    BEGIN SELECT RAISE(ABORT, 'a certificate is never changed'); END;
CREATE TRIGGER certificate_is_taken_back_once BEFORE UPDATE OF revoked_ms, revoked_leaf ON certificate
    WHEN OLD.revoked_ms IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a certificate is taken back once'); END;
CREATE TRIGGER certificate_stays BEFORE DELETE ON certificate
    BEGIN SELECT RAISE(ABORT, 'a certificate is never removed'); END;
-- Also where the log says that a pending request waits for nothing but the signature of its cold wallet: once under each
-- policy bundle.
CREATE TABLE ready (
    request BLOB NOT NULL REFERENCES request (id),
    bundle  BLOB NOT NULL CHECK (length(bundle) = 32),
    leaf    INTEGER NOT NULL REFERENCES leaf (idx),
    PRIMARY KEY (request, leaf),
    UNIQUE (request, bundle)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER ready_in_time BEFORE INSERT ON ready
    WHEN (SELECT state FROM request WHERE id = NEW.request) IS NOT 'pending'
    BEGIN SELECT RAISE(ABORT, 'only what is pending waits for a signature'); END;
CREATE TRIGGER ready_is_kept BEFORE UPDATE ON ready
    BEGIN SELECT RAISE(ABORT, 'what the log says is never changed'); END;
CREATE TRIGGER ready_stays BEFORE DELETE ON ready
    BEGIN SELECT RAISE(ABORT, 'what the log says is never removed'); END;
-- Also what took the place of something that is written once, such as a secret that was encrypted anew under another key:
-- the newest turn of a name counts.
CREATE TABLE renewal (
    name   TEXT NOT NULL,
    turn   INTEGER NOT NULL CHECK (turn >= 1),
    record BLOB NOT NULL,
    PRIMARY KEY (name, turn)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER renewal_goes_on BEFORE INSERT ON renewal
    WHEN NEW.turn IS NOT (SELECT coalesce(max(turn) + 1, 1) FROM renewal WHERE name = NEW.name)
    BEGIN SELECT RAISE(ABORT, 'a renewal takes the next turn'); END;
CREATE TRIGGER renewal_is_kept BEFORE UPDATE ON renewal
    BEGIN SELECT RAISE(ABORT, 'a renewal is never changed'); END;
CREATE TRIGGER renewal_stays BEFORE DELETE ON renewal
    BEGIN SELECT RAISE(ABORT, 'a renewal is never removed'); END;
