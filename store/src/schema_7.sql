-- Format 7: shares of keys that several parties hold. Opaque here, sealed before they come, and never removed: whoever has said
-- that it keeps a share may be the last to have one. A share is of use from the day it is certified.
CREATE TABLE share (
    session     BLOB PRIMARY KEY CHECK (length(session) = 32),
    tenant      TEXT NOT NULL,
    wallet      TEXT NOT NULL,
    epoch       INTEGER NOT NULL CHECK (epoch >= 0),
    created_ms  INTEGER NOT NULL,
    record      BLOB NOT NULL,
    sealed      BLOB NOT NULL,
    certificate BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX share_by_wallet ON share (tenant, wallet, epoch, created_ms);
CREATE TRIGGER share_starts BEFORE INSERT ON share
    WHEN NEW.certificate IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a share is kept before it is certified'); END;
CREATE TRIGGER share_is_kept BEFORE UPDATE OF
    session, tenant, wallet, epoch, created_ms, record, sealed ON share
    BEGIN SELECT RAISE(ABORT, 'a share is never changed'); END;
CREATE TRIGGER share_is_certified_once BEFORE UPDATE OF certificate ON share
    WHEN OLD.certificate IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a share is certified once'); END;
CREATE TRIGGER share_stays BEFORE DELETE ON share
    BEGIN SELECT RAISE(ABORT, 'a share is never removed'); END;
-- Also each session in which this party has said its last word about a request, before it says it: from then on others may have
-- the signature.
CREATE TABLE spoken (
    session BLOB PRIMARY KEY CHECK (length(session) = 32),
    request BLOB NOT NULL REFERENCES request (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX spoken_by_request ON spoken (request);
CREATE TRIGGER spoken_in_time BEFORE INSERT ON spoken
    WHEN (SELECT state FROM request WHERE id = NEW.request) IS NOT 'permitted'
    BEGIN SELECT RAISE(ABORT, 'the last word is about what is permitted'); END;
CREATE TRIGGER spoken_is_kept BEFORE UPDATE ON spoken
    BEGIN SELECT RAISE(ABORT, 'what was said is never changed'); END;
CREATE TRIGGER spoken_stays BEFORE DELETE ON spoken
    BEGIN SELECT RAISE(ABORT, 'what was said is never removed'); END;
-- Also who cheated where that may have leaked a part of a share: never again with this key.
CREATE TABLE ban (
    tenant    TEXT NOT NULL,
    wallet    TEXT NOT NULL,
    party     INTEGER NOT NULL CHECK (party BETWEEN 1 AND 16),
    banned_ms INTEGER NOT NULL,
    session   BLOB NOT NULL CHECK (length(session) = 32),
    PRIMARY KEY (tenant, wallet, party)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER ban_is_kept BEFORE UPDATE ON ban
    BEGIN SELECT RAISE(ABORT, 'a ban is never changed'); END;
CREATE TRIGGER ban_stays BEFORE DELETE ON ban
    BEGIN SELECT RAISE(ABORT, 'a ban is never removed'); END;
