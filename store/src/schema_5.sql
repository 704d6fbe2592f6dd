-- Format 5: how far whoever is told of the log's entries has been told. It moves both ways: what is told twice is harmless.
CREATE TABLE told (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL CHECK (next >= 0)
) STRICT, WITHOUT ROWID;
