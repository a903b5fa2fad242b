-- What this device knows apart from the locations' files.

-- Single values: library secret, device name, port, the counter of generations.
CREATE TABLE setting (
  key   TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- The signed records of membership, by their SHA-256.
CREATE TABLE membership (
  hash   BLOB PRIMARY KEY,
  record BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The file in use of each location held. A file that no row names is a leftover.
CREATE TABLE location (
  owner      BLOB    NOT NULL,
  id         BLOB    NOT NULL,
  generation INTEGER NOT NULL,
  since      INTEGER NOT NULL,    -- ns since 1970: when it came into use
  checked    INTEGER NOT NULL,    -- ns since 1970 of the last time that all of it was read and found good; 0 = never
  quarantine TEXT    NOT NULL,    -- why nothing of it is used any more; '' = it is
  PRIMARY KEY (owner, id)
) STRICT, WITHOUT ROWID;

-- What only the owner needs to know of a location of its own.
CREATE TABLE scan (
  id          BLOB    PRIMARY KEY,
  state       TEXT    NOT NULL,   -- of the last scan: 'never', 'current', 'volume away', 'unreadable'
  detail      TEXT    NOT NULL,   -- why, in plain words
  started     INTEGER NOT NULL,   -- ns since 1970
  took        INTEGER NOT NULL,   -- ns
  unreadable  INTEGER NOT NULL,   -- folders whose rows were kept
  paths       TEXT    NOT NULL,   -- the first few of them, JSON array
  held_count  INTEGER NOT NULL    -- entries that wait for a second scan before they are deleted
) STRICT, WITHOUT ROWID;

-- Roots of the subtrees whose deletion waits for a second scan that agrees.
CREATE TABLE held (
  id    BLOB    NOT NULL,
  entry INTEGER NOT NULL,
  PRIMARY KEY (id, entry)
) STRICT, WITHOUT ROWID;

-- The states of own locations that other devices may have seen. One that comes back and is not here was signed by data
-- that this device no longer has.
CREATE TABLE published (
  id     BLOB    NOT NULL,
  epoch  INTEGER NOT NULL,        -- its counter
  seq    INTEGER NOT NULL,
  next   INTEGER NOT NULL,        -- its next id
  digest BLOB    NOT NULL,        -- SHA-256 of the head without library and time
  PRIMARY KEY (id, seq)
) STRICT, WITHOUT ROWID;

-- The newest head heard of a location, from each device that spoke of it. What this device says of its own locations is
-- here too: it is needed when a location's file is lost.
CREATE TABLE heard (
  owner   BLOB    NOT NULL,
  id      BLOB    NOT NULL,
  device  BLOB    NOT NULL,
  head    BLOB    NOT NULL,
  record  BLOB    NOT NULL,
  horizon INTEGER NOT NULL,
  size    INTEGER NOT NULL,       -- bytes of its file, as that device says; 0 = not known
  held    INTEGER NOT NULL,       -- 1 when that device holds a replica at this head
  wants   INTEGER NOT NULL,       -- 1 when that device wants changes above this head to be pushed to it
  listed  INTEGER NOT NULL,       -- 1 while that device names this head among those that it knows
  at      INTEGER NOT NULL,       -- ns since 1970, our clock
  PRIMARY KEY (owner, id, device)
) STRICT, WITHOUT ROWID;

-- Two heads of one location that cannot both be true, as evidence. The location is frozen until a higher epoch.
CREATE TABLE frozen (
  owner BLOB NOT NULL,
  id    BLOB NOT NULL,
  a     BLOB NOT NULL,
  b     BLOB NOT NULL,
  PRIMARY KEY (owner, id)
) STRICT, WITHOUT ROWID;

-- Addresses at which a device was reached, or may be.
CREATE TABLE address (
  device BLOB    NOT NULL,
  addr   TEXT    NOT NULL,        -- multiaddr without the peer ID
  good   INTEGER NOT NULL,        -- ns since 1970 of the last time it worked; 0 = never
  PRIMARY KEY (device, addr)
) STRICT, WITHOUT ROWID;

-- When a device was last connected, and why it is not.
CREATE TABLE contact (
  device BLOB    PRIMARY KEY,
  seen   INTEGER NOT NULL,        -- ns since 1970
  error  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What a person decided about replicas of other devices' locations: "auto", "full", "lazy" or "off". Where nothing was
-- decided for a location, what was decided for its device counts.
CREATE TABLE policy (
  owner  BLOB NOT NULL,
  id     BLOB NOT NULL,           -- of the location; 16 zero bytes = of the device
  policy TEXT NOT NULL,
  PRIMARY KEY (owner, id)
) STRICT, WITHOUT ROWID;

-- Transfers that are under way or wait, and those that a person stopped. What is not here is planned from what is known.
CREATE TABLE job (
  owner    BLOB    NOT NULL,
  id       BLOB    NOT NULL,
  state    TEXT    NOT NULL,      -- 'queued', 'running', 'waiting', 'busy', 'paused' or 'cancelled'
  head     BLOB    NOT NULL,      -- the newest head heard when it was written; empty = none
  strategy TEXT    NOT NULL,
  provider BLOB    NOT NULL,      -- device; 32 zero bytes = not chosen
  done     INTEGER NOT NULL,      -- position: entries, or bytes of a snapshot, received
  total    INTEGER NOT NULL,      -- of those; 0 = not known
  attempts INTEGER NOT NULL,      -- that failed
  next     INTEGER NOT NULL,      -- ns since 1970 of the next try; 0 = as soon as there is room
  error    TEXT    NOT NULL,      -- of the last attempt
  PRIMARY KEY (owner, id)
) STRICT, WITHOUT ROWID;

-- What a person answered to whether a location of another device is the same folder as an own one.
CREATE TABLE same (
  owner    BLOB    NOT NULL,      -- of the other device's location
  id       BLOB    NOT NULL,
  own      BLOB    NOT NULL,      -- ID of the own location
  same     INTEGER NOT NULL,      -- 1 = it is, 0 = it is not
  evidence TEXT    NOT NULL,      -- what spoke for it: 'volume', 'share', 'listing'; '' = not asked for
  mine     BLOB    NOT NULL,      -- where each of both was then, as its record said
  theirs   BLOB    NOT NULL,
  at       INTEGER NOT NULL,      -- ns since 1970
  differs  INTEGER NOT NULL,      -- ns since 1970: since when the two are too different to be one; 0 = they aren't
  PRIMARY KEY (owner, id, own)
) STRICT, WITHOUT ROWID;
