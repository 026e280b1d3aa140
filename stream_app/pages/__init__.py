"""HTML pages for people, and a Markdown page; plotly.js comes from the installed package.

shell.py shell.html style.css charts.js   the frame and the theme of all of them
page.py sections.*                        one HTML file of sections, each a table, a plot or both
plots.py                                  the figures in them
training_page.py backtest_page.py         how a candidate was judged; all models on a log
try_page.py                               forecasts with other covariates
speed_page.py svg.py                      what a forecast costs, in Markdown; the look of charts in Markdown
demo.*                                    the page that `tidecast demo` writes
live.*                                    the page that `tidecast api` serves
"""
