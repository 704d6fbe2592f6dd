-- Format 4: the addresses that wallets with many have handed out: how many of a branch, and below which index some is
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
