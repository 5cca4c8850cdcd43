# Configuration file of Saola, with every setting at its default. Generated from settings.def.
#
# Saola reads saola.conf.py (else gunicorn.conf.py) from the directory it is started in, or what -c
# names. It is a Python program: take away a "# " and change the value.

# ---- Config File ---------------------------------------------------------------------------------

# Application to serve when none is named on the command line.
# wsgi_app = None

# ---- Server Socket -------------------------------------------------------------------------------

# Address to listen on; may be given several times.
# bind = ['127.0.0.1:8000']

# How many connections may wait to be accepted.
# backlog = 2048

# ---- Worker Processes ----------------------------------------------------------------------------

# Number of worker processes.
# workers = 1

# How a worker runs the application.
# worker_class = 'sync'

# Requests one worker runs at a time, on threads.
# threads = 1

# Connections that one worker holds open at the same time.
# worker_connections = 1000

# Requests after which a worker is replaced; 0 is never.
# max_requests = 0

# Adds a random number up to this to max_requests, for each worker.
# max_requests_jitter = 0

# Seconds of silence before a worker is killed; 0 is never.
# timeout = 30

# Seconds a leaving worker has for its requests.
# graceful_timeout = 30

# Seconds an idle connection is kept open; 0 closes it after each answer.
# keepalive = 2

# Event loop of asgi workers: auto, asyncio, uvloop, or MODULE:NAME of what makes one.
# asgi_loop = 'auto'

# Whether asgi workers run the lifespan protocol.
# asgi_lifespan = 'auto'

# Seconds before the task of a request is cancelled when its client has gone.
# asgi_disconnect_grace_period = 3

# ---- Security ------------------------------------------------------------------------------------

# Longest request line, in bytes; 0 is the parser's own maximum.
# limit_request_line = 4094

# Most header fields in one request; 0 is the parser's own maximum.
# limit_request_fields = 100

# Longest header field line, in bytes; 0 is the parser's own maximum.
# limit_request_field_size = 8190

# ---- Debugging -----------------------------------------------------------------------------------

# Replaces workers when a source file changes.
# reload = False

# How changed files are found.
# reload_engine = 'auto'

# Further file or glob pattern that reload watches; may be given several times.
# reload_extra_files = []

# Prints every line of Python that is executed.
# spew = False

# ---- Server Mechanics ----------------------------------------------------------------------------

# Loads the application once, before the fork.
# preload_app = False

# The kernel sends files, without a copy through the application; --no-sendfile: it does not.
# sendfile = True

# Every worker opens its own listening socket (SO_REUSEPORT).
# reuse_port = False

# Directory that the application is loaded in.
# chdir = None

# Runs in the background, without a terminal.
# daemon = False

# NAME=VALUE for the environment; may be given several times.
# raw_env = []

# File that holds the process id of the arbiter.
# pidfile = None

# User that the workers run as; a name or a number.
# user = None

# Group that the workers run as; a name or a number.
# group = None

# Permission bits taken away from the unix sockets that are made.
# umask = 0

# Workers also get the supplementary groups of user.
# initgroups = False

# Header fields and the values by which a trusted proxy says that the client used https.
# secure_scheme_headers = {'X-FORWARDED-PROTOCOL': 'ssl', 'X-FORWARDED-PROTO': 'https', 'X-FORWARDED-SSL': 'on'}

# Proxies whose forwarding header fields are believed.
# forwarded_allow_ips = '127.0.0.1,::1'

# Directories, comma separated, put first on the module search path.
# pythonpath = None

# PasteDeploy file of the application, with #SECTION if not main.
# paste = None

# PROXY protocol before requests; off, v1, v2 or auto (either).
# proxy_protocol = 'off'

# Addresses and networks that may send the PROXY protocol.
# proxy_allow_ips = '127.0.0.1,::1'

# NAME=VALUE given to PasteDeploy; may be given several times.
# raw_paste_global_conf = []

# Accepts header fields that go on over several lines.
# permit_obsolete_folding = False

# Accepts white space between a header's name and its colon.
# strip_header_spaces = False

# Accepts methods that are not 3 to 20 upper-case letters and the like.
# permit_unconventional_http_method = False

# Accepts HTTP versions other than 1.0 and 1.1 in the request line.
# permit_unconventional_http_version = False

# Turns lower-case methods into upper case.
# casefold_http_method = False

# Header names with underscores that trusted proxies may send, in upper case.
# forwarder_headers = 'SCRIPT_NAME,PATH_INFO'

# What to do with a header whose name contains an underscore.
# header_map = 'drop'

# root_path of the ASGI scope.
# root_path = ''

# ---- Logging -------------------------------------------------------------------------------------

# Access log file, - for standard output; no log without it.
# accesslog = None

# Keeps the access log out of syslog.
# disable_redirect_access_to_syslog = False

# Format of an access log line.
# access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

# Error log file, - for standard error.
# errorlog = '-'

# Least important messages in the error log.
# loglevel = 'info'

# Standard output and standard error of the application go to the error log file.
# capture_output = False

# Class that writes the logs, as a dotted Python name.
# logger_class = 'saola.glogging.Logger'

# Configuration file of Python's logging (INI form).
# logconfig = None

# Configuration of Python's logging as a dictionary.
# logconfig_dict = {}

# Configuration of Python's logging as a JSON file.
# logconfig_json = None

# Address of syslog: udp://HOST:PORT, tcp://HOST:PORT or unix://PATH#dgram (or #stream).
# syslog_addr = 'udp://localhost:514'

# Sends the logs to syslog.
# syslog = False

# Name in syslog entries instead of the process name.
# syslog_prefix = None

# Facility of syslog entries.
# syslog_facility = 'user'

# With daemon: keeps standard output and standard error when they are not a terminal.
# enable_stdio_inheritance = False

# ---- Process Naming ------------------------------------------------------------------------------

# Name in process titles and logs.
# proc_name = None

# ---- Server Hooks --------------------------------------------------------------------------------

# (server) Before the arbiter starts.
# def on_starting(server):
#     ...

# (server) A reload has read its configuration.
# def on_reload(server):
#     ...

# (server) The server listens.
# def when_ready(server):
#     ...

# (server, worker) Before a worker is forked.
# def pre_fork(server, worker):
#     ...

# (server, worker) A worker was forked.
# def post_fork(server, worker):
#     ...

# (worker) A worker has loaded the application.
# def post_worker_init(worker):
#     ...

# (worker) A worker got INT or QUIT.
# def worker_int(worker):
#     ...

# (worker) A worker got ABRT, usually because of timeout.
# def worker_abort(worker):
#     ...

# (server) Before the new arbiter is executed (USR2).
# def pre_exec(server):
#     ...

# (worker, req) Before the application is called.
# def pre_request(worker, req):
#     ...

# (worker, req, environ, resp) After the answer, also a failed one.
# def post_request(worker, req, environ, resp):
#     ...

# (server, worker) A worker process has ended.
# def child_exit(server, worker):
#     ...

# (server, worker) A worker is about to end.
# def worker_exit(server, worker):
#     ...

# (server, new_value, old_value) The number of workers was set.
# def nworkers_changed(server, new_value, old_value):
#     ...

# (server) The server has stopped.
# def on_exit(server):
#     ...

# (config, default_ssl_context_factory) A TLS context is needed; returns it.
# def ssl_context(config, default_ssl_context_factory):
#     ...

# ---- Control -------------------------------------------------------------------------------------

# Makes no control socket.
# control_socket_disable = False

# ---- Clocks and hand-over ------------------------------------------------------------------------

# Seconds a worker has until it serves; 0 is no limit.
# boot_timeout = 60

# Seconds that one request may take, whatever the worker class; 0 is no limit.
# request_timeout = 0

# Seconds that the workers serve on after TERM, before the stop begins.
# drain_delay = 0

# What follows when a background task that the application's startup has made ends.
# payload_exit = 'log'

# Seconds that exit hooks may take once the requests are finished; 0 is no limit.
# exit_timeout = 30

# Processes that serve no HTTP, kept alive beside the web workers: {name: {option: value}}.
# pools = {}

# Seconds from the first byte of a request to the end of its header; 0 is no limit.
# header_timeout = 10

# Longest pause, in seconds, inside a request body or while an answer is sent; 0 is no limit.
# body_timeout = 30

# Bytes a second that a request body must come with; 0 is no limit.
# min_body_rate = 240

# Bytes a second of an answer that the client must take; 0 is no limit.
# min_response_rate = 240

# Longest request line and header fields together; 0 is 128M.
# limit_request_head = 131072

# Longest request body, as in 100M; 0 is no limit.
# limit_request_body = 1073741824

# Request bodies up to this are received before the application is called; 0 is 64 KiB.
# body_buffer = 67108864

# Answers up to this are taken from the application at once, however slow the client is.
# response_buffer = 67108864

# What the files of body_buffer and response_buffer may take of the disk, all of one worker; 0 is
# no limit.
# spool_limit = 1073741824

# How a worker is replaced: overlap or exclusive.
# hand_over = 'overlap'

# Lock file of hand_over = 'exclusive'.
# exclusive_lock = None

# Seconds after which a worker is replaced; 0 is never.
# max_worker_lifetime = 0

# Adds up to this to max_worker_lifetime, another number for each worker.
# max_worker_lifetime_jitter = 0

# Memory above which a worker is replaced, as in 512M; 0 is no limit.
# max_worker_memory = 0

# Adds up to this to max_worker_memory, another amount for each worker.
# max_worker_memory_jitter = 0

# Memory above which a worker is aborted, as in 1G; 0 is no limit.
# max_worker_memory_hard = 0

# How much of the workers may be replaced at once because of max_requests, their lifetime or their
# memory.
# recycle_share = 25

# Requests that get no line in the access log; may be given several times.
# access_log_exclude = []

# Requests that an asgi worker runs at the same time; 0 is no limit.
# limit_concurrency = 0

# The error log says when an application is loaded, started, served, stopped and cleaned up.
# trace_lifecycle = False

# At its end the server says how often the application was loaded, started and cleaned up.
# lifecycle_report = False

# Longest message that a WebSocket client may send, inflated, as in 16M; 0 is no limit.
# websocket_max_size = 16777216

# Pings, pongs and closes that a WebSocket client may send in a second; 0 is no limit.
# websocket_max_controls = 100

# Seconds of silence after which a WebSocket client is sent a ping; 0 is never.
# websocket_ping_interval = 20

# Seconds within which a WebSocket client must answer a ping; 0 is no limit.
# websocket_ping_timeout = 20

# WebSocket messages are compressed when the client offers permessage-deflate.
# websocket_deflate = True

# The application may execute programs that gain rights, like sudo or sendmail.
# allow_setuid_programs = False

# Value of the Server header field of responses; empty is none.
# server_header = 'saola'

# ---- Files ---------------------------------------------------------------------------------------

# Serves the files of a directory below a path of the site; may be given several times.
# static_files = []

# Content-Type of static files with that ending; may be given several times.
# static_types = []

# Cache-Control: public, max-age=SECONDS for static files; 0 is no such header.
# static_max_age = 0

# Absolute directory whose files the application may send by X-Sendfile; may be given several
# times.
# sendfile_roots = []

# ---- Applications in C ---------------------------------------------------------------------------

# Serves an application written in C below a path of the site; may be given several times.
# mount = []

# A setting that an application or worker class written in C has declared; may be given several
# times.
# app_settings = []

# A pool of processes written in C; may be given several times.
# native_pools = []

# Hooks written in C, for the program without Python.
# native_hooks = None
