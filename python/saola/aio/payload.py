"""The background tasks of an application: what its startup has made and what runs until its cleanup.

asyncio says nothing when such a task ends; a server goes on without its main payload. Process: a
worker. Thread: the main one, on its loop.
"""

import asyncio

#: Names of the server's own tasks begin so.
OURS = "saola-"


class Payload:
    """Watches the tasks that a startup leaves running.

    policy: the setting payload_exit. log: the server's logger. act(policy, task): called once, when
    policy is restart or halt and the first of them has ended.
    """

    def __init__(self, policy, log, act):
        self._policy, self._log, self._act = policy, log, act
        self._before = set()
        self._over = False
        self.tasks = set()

    def before_startup(self, loop):
        """Tasks that exist now are not the application's."""
        self._before = asyncio.all_tasks(loop)

    def after_startup(self, loop):
        """Tasks that exist now and did not before are the payload."""
        for task in asyncio.all_tasks(loop) - self._before:
            if not task.get_name().startswith(OURS):
                self.tasks.add(task)
                task.add_done_callback(self._ended)
        self._before = set()

    def stop(self):
        """The worker leaves: from now on the application ends its tasks."""
        self._over = True

    def _ended(self, task):
        self.tasks.discard(task)
        if self._over or self._policy == "ignore":
            return
        name = f"Background task {task.get_name()} ({_of(task)})"
        if task.cancelled():
            self._log.error("%s was cancelled while the worker serves", name)
        elif task.exception() is not None:
            self._log.error("%s has failed", name, exc_info=task.exception())
        else:
            self._log.error("%s has returned; startup made it, nothing runs in its place", name)
        if self._policy in ("restart", "halt"):
            self._over = True
            self._act(self._policy, task)


def _of(task):
    coroutine = task.get_coro()
    return getattr(coroutine, "__qualname__", None) or type(coroutine).__name__
