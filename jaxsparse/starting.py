"""What has to be settled before anything heavy is imported: Ctrl-C then ends the command at once, without a traceback.

Only of the command `jaxsparse`; who imports the package keeps the signals as they are.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

if (
    os.path.basename(next(iter(getattr(sys, "argv", [])), "")) == "jaxsparse"
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)
