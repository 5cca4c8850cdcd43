/* Descriptors as the kernel sees them: tables of them, and files on their way from one table to
 * another. */
#ifndef SL_NET_DESCRIPTOR_H
#define SL_NET_DESCRIPTOR_H

/* Gives the calling thread a table of descriptors of its own, with nothing in it but `keep` and the
 * standard streams.
 *
 * While two threads share a table, Linux counts the use of the file in each of their system calls,
 * and a request pays some 40 ns for that (fdget() in the kernel). One thread that has left it costs
 * the other nothing. Where the kernel cannot do it (before 5.9, or it is forbidden) all is as it
 * was: whoever calls this must work with a shared table, too. */
void sl_descriptor_separate(int keep);

/* Passes the file behind fd through a Unix-domain socket (SCM_RIGHTS, unix(7)). SL_OK; SL_ESYS
 * (errno). fd stays open. Thread: any. */
int sl_descriptor_send(int socket, int fd);

/* Takes what was passed, close-on-exec. -1: nothing is there, or no descriptor can be had (errno).
 */
int sl_descriptor_receive(int socket);

#endif
