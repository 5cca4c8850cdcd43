"""Pools: supervised processes that serve no HTTP, beside the web workers or alone.

    class Mailer(WorkerBase):
        async def main(self):
            while self.is_running():
                await asyncio.sleep(1)

    Supervisor(Mailer, workers=4).main()

Supervisor and WorkerBase have the names and the meaning of aioworkerpool's; the processes are kept
alive by the same arbiter as web workers. Pool describes a pool for the setting `pools` and for
saola.run(app, pools=[...]). Guide: docs/pools.md.
"""

from .spec import Pool
from .worker import WorkerBase
from .supervisor import Supervisor

__all__ = ["Pool", "Supervisor", "WorkerBase"]
