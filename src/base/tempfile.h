/* Files without a name, for what is too much for memory. */
#ifndef SL_BASE_TEMPFILE_H
#define SL_BASE_TEMPFILE_H

/* Opens an empty file of a directory that nobody else can open and that is gone with its
 * descriptor (close-on-exec). Returns the descriptor, or -1 (errno). */
int sl_tempfile_open(const char *directory);

#endif
