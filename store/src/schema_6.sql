-- Format 6: where the log says that a pending request waits for nothing but the signature of its cold wallet: once under each
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
