"""`tidecast api`: what a deployment reads and publishes, over HTTP, read-only, for people and for programs.

following.py    the thread that follows the topics and fills the views
view.py         all that is known of one stream
roster.py cells.py recent.py    a view's columns, one a series, of fixed depth: their memory has a known bound
fetching.py     one forecast, read from its topic by offset
answers.py routes.py   the JSON API; live.py what only the page asks for; events.py tells a page when to ask again
guard.py        token, limits, headers
server.py       the process
"""
