-- One location, own or replica. The same text for both.

-- One row per live file, folder, symlink or other node. Ids are given by the owner, from 1 (the root), in walk order.
CREATE TABLE entries (
  id     INTEGER PRIMARY KEY,
  parent INTEGER NOT NULL,        -- 0 for the root
  name   TEXT    NOT NULL,        -- raw bytes, may be invalid UTF-8; '' for the root
  kind   INTEGER NOT NULL,        -- 1 file, 2 folder, 3 symlink, 4 other
  size   INTEGER NOT NULL,        -- bytes
  mtime  INTEGER NOT NULL,        -- ns since 1970, saturating
  mode   INTEGER NOT NULL,        -- permission bits, XOR 0644; 0755 of a folder, 0777 of a symlink
  hash   BLOB,                    -- of the content; NULL until hashed
  attrs  BLOB,                    -- of the embedding application; NULL from the scanner
  seq    INTEGER NOT NULL         -- of the last change of this row
) STRICT;

-- Ids lo..hi are dead for ever. One seq a run.
CREATE TABLE dead (
  seq INTEGER PRIMARY KEY,
  lo  INTEGER NOT NULL,
  hi  INTEGER NOT NULL
) STRICT;

-- The hash tree over the id space: level 0 are the leaves. Only nodes with rows below them are here.
CREATE TABLE tree (
  level INTEGER NOT NULL,
  idx   INTEGER NOT NULL,
  hash  BLOB    NOT NULL,
  PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;

-- What this file holds, as its owner signed it.
CREATE TABLE meta (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  head    BLOB    NOT NULL,       -- signed head: owner, location, epoch, seq, count, next id, hashes, as of
  record  BLOB    NOT NULL,       -- the location's record, covered by the head
  horizon INTEGER NOT NULL,       -- lowest seq from which this file can still serve a delta
  base    BLOB    NOT NULL,       -- horizon in 8 bytes, big-endian, and the chain of dead runs up to it
  token   BLOB                    -- resume token while this file is being filled; NULL once it is in place
) STRICT;
