-- Format 6: what took the place of something that is written once, such as a secret that was encrypted anew under another key:
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
