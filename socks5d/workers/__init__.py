"""
Several processes that serve as one.

The parent (L{supervisor<socks5d.workers.supervisor>}) binds the listeners, and accepts
nobody.  It starts the workers (L{process<socks5d.workers.process>}) and one to spare,
which takes the place of the first that dies; a worker is told by an
L{Assignment<socks5d.workers.assignment.Assignment>} what the parent was told by its
options.  A plain TCP listener is a socket for each worker, among which the kernel shares
out the clients, and which the parent keeps: whoever waits in the queue of a worker that
died is accepted by the next.

The two speak AMP over pipes (L{channel<socks5d.workers.channel>}).  What has to hold for
all workers together, as the number of a client's associations, is counted by the parent
(L{tally<socks5d.workers.tally>}), which takes back what a dead worker had.  The log is
the parent's; workers send it theirs (L{logpipe<socks5d.workers.logpipe>}).
"""
