-- Format 4: officers' logins, and addresses. An account and a session are opaque here and change; a code of an enrolment is used once, for
-- ever.
CREATE TABLE account (
    tenant  TEXT NOT NULL,
    officer TEXT NOT NULL,
    record  BLOB NOT NULL,
    PRIMARY KEY (tenant, officer)
) STRICT, WITHOUT ROWID;
CREATE TABLE session (
    id         BLOB PRIMARY KEY CHECK (length(id) = 16),
    token      BLOB NOT NULL UNIQUE CHECK (length(token) = 32),
    tenant     TEXT NOT NULL,
    officer    TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    record     BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX session_by_officer ON session (tenant, officer, id);
CREATE INDEX session_by_expiry ON session (expires_ms);
CREATE TRIGGER session_keeps BEFORE UPDATE ON session
    BEGIN SELECT RAISE(ABORT, 'a session is never changed'); END;
CREATE TABLE enrolment (
    tenant TEXT NOT NULL,
    code   BLOB NOT NULL CHECK (length(code) = 32),
    PRIMARY KEY (tenant, code)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER enrolment_is_kept BEFORE UPDATE ON enrolment
    BEGIN SELECT RAISE(ABORT, 'a used code is never changed'); END;
CREATE TRIGGER enrolment_stays BEFORE DELETE ON enrolment
    BEGIN SELECT RAISE(ABORT, 'a used code is never removed'); END;
-- The addresses that wallets with many have handed out: how many of a branch, and below which index some is
-- known to be used.
CREATE TABLE address (
    tenant TEXT NOT NULL,
    wallet TEXT NOT NULL,
    branch INTEGER NOT NULL CHECK (branch >= 0),
    given  INTEGER NOT NULL CHECK (given >= used),
    used   INTEGER NOT NULL CHECK (used >= 0),
    PRIMARY KEY (tenant, wallet, branch),
    FOREIGN KEY (tenant, wallet) REFERENCES wallet (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER address_goes_on BEFORE UPDATE ON address
    WHEN NEW.given < OLD.given OR NEW.used < OLD.used
    BEGIN SELECT RAISE(ABORT, 'an address that was handed out or used stays so'); END;
CREATE TRIGGER address_stays BEFORE DELETE ON address
    BEGIN SELECT RAISE(ABORT, 'an address that was handed out or used stays so'); END;
