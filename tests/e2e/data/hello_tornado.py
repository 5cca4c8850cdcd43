"""The least Tornado application."""

from tornado import web


class Hello(web.RequestHandler):
    def get(self):
        self.write("hello")


app = web.Application([("/hello", Hello)])
