-- Format 2: secrets of the appliance, each encrypted under a key that never leaves the HSM; opaque here, written once.
CREATE TABLE wrapped (
    name   TEXT PRIMARY KEY,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER wrapped_is_kept BEFORE UPDATE ON wrapped
    BEGIN SELECT RAISE(ABORT, 'a wrapped secret is never changed'); END;
CREATE TRIGGER wrapped_stays BEFORE DELETE ON wrapped
    BEGIN SELECT RAISE(ABORT, 'a wrapped secret is never removed'); END;
