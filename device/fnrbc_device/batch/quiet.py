"""Dask's scheduler and worker without the HTTP servers that they otherwise open beside the port for orders."""

from typing import Any

from distributed import Scheduler, Worker
from distributed.http.routing import RoutingApplication
from tornado.httpserver import HTTPServer


class _Unheard:
    """Keeps the server of pages from listening."""

    http_application: RoutingApplication
    http_server: HTTPServer

    def start_http_server(
        self, routes: Any, dashboard_address: Any, default_port: int = 0, ssl_options: Any = None
    ) -> None:
        """Make it, so that what is told of it has whom to tell, and leave it there."""
        self.http_application = RoutingApplication(routes)
        self.http_server = HTTPServer(self.http_application)


class QuietScheduler(_Unheard, Scheduler):  # type: ignore[misc]  # Dask is annotated in part only
    """A scheduler that listens for orders alone."""


class QuietWorker(_Unheard, Worker):  # type: ignore[misc]  # likewise
    """A worker that listens for orders alone."""
