-- Format 1. Every rule that SQL can hold is held here, so that a defect above cannot break it.

-- Facts about the store itself; one row.
CREATE TABLE store (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    newest_ms INTEGER NOT NULL  -- the latest time any committed job named
) STRICT;
INSERT INTO store (one, newest_ms) VALUES (1, 0);

-- The log: dense indexes from 0, written once.
CREATE TABLE leaf (
    idx  INTEGER PRIMARY KEY,
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    body BLOB NOT NULL
) STRICT;
CREATE TRIGGER leaf_is_dense BEFORE INSERT ON leaf
    WHEN NEW.idx IS NOT (SELECT coalesce(max(idx) + 1, 0) FROM leaf)
    BEGIN SELECT RAISE(ABORT, 'a leaf takes the next index'); END;
CREATE TRIGGER leaf_is_kept BEFORE UPDATE ON leaf
    BEGIN SELECT RAISE(ABORT, 'a leaf is never changed'); END;
CREATE TRIGGER leaf_stays BEFORE DELETE ON leaf
    BEGIN SELECT RAISE(ABORT, 'a leaf is never removed'); END;

-- Requests. `seq` is the order of recording; `record` and `released` are opaque.
CREATE TABLE request (
    seq             INTEGER PRIMARY KEY,
    id              BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    tenant          TEXT NOT NULL,
    client          TEXT NOT NULL,
    wallet          TEXT NOT NULL,
    idempotency_key TEXT,
    request_digest  BLOB NOT NULL CHECK (length(request_digest) = 32),
    signing_digest  BLOB NOT NULL CHECK (length(signing_digest) = 32),
    state           TEXT NOT NULL
        CHECK (state IN ('permitted', 'released', 'denied', 'pending', 'expired', 'failed')),
    decided_ms      INTEGER NOT NULL,
    expires_ms      INTEGER,
    decision_leaf   INTEGER REFERENCES leaf (idx),
    outcome_leaf    INTEGER REFERENCES leaf (idx),
    record          BLOB NOT NULL,
    released        BLOB,
    UNIQUE (tenant, client, idempotency_key),
    CHECK (state NOT IN ('permitted', 'released') OR decision_leaf IS NOT NULL),
    CHECK ((state = 'released') = (released IS NOT NULL)),
    CHECK (state <> 'released' OR outcome_leaf IS NOT NULL),
    CHECK (state <> 'pending' OR expires_ms IS NOT NULL)
) STRICT;
CREATE INDEX request_by_time ON request (tenant, decided_ms);
CREATE INDEX request_by_wallet ON request (tenant, wallet, decided_ms);
CREATE INDEX request_by_client ON request (tenant, client, decided_ms);
-- Released rows, the bulk, stay out of these two.
CREATE INDEX request_by_state ON request (state, tenant, decided_ms) WHERE state <> 'released';
CREATE INDEX request_by_expiry ON request (expires_ms) WHERE state = 'pending';

CREATE TRIGGER request_starts BEFORE INSERT ON request
    WHEN NEW.state NOT IN ('permitted', 'denied', 'pending')
    BEGIN SELECT RAISE(ABORT, 'a request starts as permitted, denied or pending'); END;
CREATE TRIGGER request_moves BEFORE UPDATE OF state ON request
    WHEN NOT ((OLD.state = 'permitted' AND NEW.state IN ('released', 'failed'))
           OR (OLD.state = 'pending' AND NEW.state IN ('permitted', 'denied', 'expired', 'failed')))
    BEGIN SELECT RAISE(ABORT, 'that state does not follow the present one'); END;
CREATE TRIGGER request_keeps BEFORE UPDATE OF
    seq, id, tenant, client, wallet, request_digest, signing_digest, decided_ms, record ON request
    BEGIN SELECT RAISE(ABORT, 'what was asked and decided is never changed'); END;
CREATE TRIGGER request_ends_once BEFORE UPDATE OF outcome_leaf, released ON request
    WHEN OLD.outcome_leaf IS NOT NULL OR OLD.released IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'an outcome is written once'); END;
CREATE TRIGGER request_frees_key BEFORE UPDATE OF idempotency_key ON request
    WHEN NEW.idempotency_key IS NOT NULL OR OLD.state IN ('permitted', 'released', 'pending')
    BEGIN SELECT RAISE(ABORT, 'a key is freed only when nothing was or can be released'); END;
CREATE TRIGGER request_stays BEFORE DELETE ON request
    BEGIN SELECT RAISE(ABORT, 'a request is never removed'); END;

-- Sliding windows. A bucket counts until `last_ms` has left its window; `amount` is an unsigned 128-bit big-endian
-- sum, so that it is exact however large the reservations; `gone_ms` is when it may be swept.
CREATE TABLE limit_bucket (
    counter TEXT NOT NULL,
    last_ms INTEGER NOT NULL,
    gone_ms INTEGER NOT NULL,
    amount  BLOB NOT NULL CHECK (length(amount) = 16),
    PRIMARY KEY (counter, last_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX limit_bucket_by_end ON limit_bucket (gone_ms);

-- What each request holds of each bucket; kept as long as the bucket, so that every bucket can be recounted.
CREATE TABLE reservation (
    request BLOB NOT NULL REFERENCES request (id),
    counter TEXT NOT NULL,
    last_ms INTEGER NOT NULL,
    amount  INTEGER NOT NULL CHECK (amount >= 0),
    settled INTEGER NOT NULL DEFAULT 0 CHECK (settled IN (0, 1)),
    PRIMARY KEY (request, counter)
) STRICT, WITHOUT ROWID;
CREATE INDEX reservation_by_bucket ON reservation (counter, last_ms);

-- Wallets: the opaque record names the key and its public half; written once.
CREATE TABLE wallet (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    leaf       INTEGER NOT NULL REFERENCES leaf (idx),
    record     BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER wallet_is_kept BEFORE UPDATE ON wallet
    BEGIN SELECT RAISE(ABORT, 'a wallet is never changed'); END;
CREATE TRIGGER wallet_stays BEFORE DELETE ON wallet
    BEGIN SELECT RAISE(ABORT, 'a wallet is never removed'); END;

-- Policy bundles by hash, and the order in which they were put in force.
CREATE TABLE bundle (
    seq       INTEGER PRIMARY KEY,
    tenant    TEXT NOT NULL,
    hash      BLOB NOT NULL CHECK (length(hash) = 32),
    canonical BLOB NOT NULL,
    UNIQUE (tenant, hash)
) STRICT;
CREATE TRIGGER bundle_is_kept BEFORE UPDATE ON bundle
    BEGIN SELECT RAISE(ABORT, 'a bundle is never changed'); END;
CREATE TRIGGER bundle_stays BEFORE DELETE ON bundle
    BEGIN SELECT RAISE(ABORT, 'a bundle is never removed'); END;
CREATE TABLE activation (
    seq        INTEGER PRIMARY KEY,
    tenant     TEXT NOT NULL,
    hash       BLOB NOT NULL,
    applied_ms INTEGER NOT NULL,
    leaf       INTEGER NOT NULL REFERENCES leaf (idx),
    FOREIGN KEY (tenant, hash) REFERENCES bundle (tenant, hash)
) STRICT;
CREATE INDEX activation_by_tenant ON activation (tenant);
CREATE INDEX activation_by_bundle ON activation (tenant, hash);
CREATE TRIGGER activation_is_kept BEFORE UPDATE ON activation
    BEGIN SELECT RAISE(ABORT, 'an activation is never changed'); END;
CREATE TRIGGER activation_stays BEFORE DELETE ON activation
    BEGIN SELECT RAISE(ABORT, 'an activation is never removed'); END;
