"""`tidecast api`: what a deployment reads and says, over HTTP, read-only, for people and for programs.

following.py    one thread follows the topics into views
roster.py cells.py recent.py    columns, one a series, of fixed depth: the memory is bounded and known beforehand
view.py         all that is known of one stream
fetching.py     one forecast out of its topic, by offset
answers.py routes.py   the JSON API; live.py what the page asks for; events.py when to ask again
guard.py        token, limits, headers
server.py       the process
"""
