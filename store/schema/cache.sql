-- Answers of other devices about locations of which this device has no replica. Everything here may be lost.

CREATE TABLE answer (
  n        INTEGER PRIMARY KEY,
  owner    BLOB    NOT NULL,
  id       BLOB    NOT NULL,
  question BLOB    NOT NULL,      -- SHA-256 of what was asked
  library  BLOB    NOT NULL,
  head     BLOB    NOT NULL,      -- at which it was answered
  record   BLOB    NOT NULL,      -- of that head
  device   BLOB    NOT NULL,      -- that answered
  found    INTEGER NOT NULL,      -- 0 when the answer is that there is no such entry
  size     INTEGER NOT NULL,      -- what the row counts for, bytes
  used     INTEGER NOT NULL,      -- ns since 1970, our clock: when it was last asked for, to the minute
  body     BLOB    NOT NULL       -- as it was received
) STRICT;
-- Finding an answer, and all of one location.
CREATE UNIQUE INDEX answer_question ON answer (owner, id, question);
-- Finding those that were not asked for the longest, and how much there is.
CREATE INDEX answer_used ON answer (used, size);
