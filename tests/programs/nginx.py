"""What the configurations of nginx have in common here: it stays in the foreground, and writes nothing outside the test's folder."""

FRAME = """
daemon off;
PROCESS
pid %(folder)s/PID.pid;
error_log %(folder)s/error.log;
events { worker_connections CONNECTIONS; }
http {
    LOG
    client_body_temp_path %(folder)s/body;
    proxy_temp_path %(folder)s/proxy;
    fastcgi_temp_path %(folder)s/fastcgi;
    uwsgi_temp_path %(folder)s/uwsgi;
    scgi_temp_path %(folder)s/scgi;
HTTP}
"""


def configuration(http, process="master_process off;", connections=64, log="access_log off;", pid="nginx"):
    """To be filled in with %: `folder`, and what else the parts have open."""
    parts = {"PROCESS": process, "PID": pid, "CONNECTIONS": str(connections), "LOG": log, "HTTP": http.lstrip("\n")}
    text = FRAME
    for name, part in parts.items():
        text = text.replace(name, part, 1)
    return text
