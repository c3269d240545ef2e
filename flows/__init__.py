"""The story: Prefect flows that read like a table of contents, and the command line into them.

flows
    ``experiment``, ``again`` (another judge, another sweep, the report), ``catch_up``,
    ``sensitivity``
their parts
    ``steps`` (the tasks), ``side_by_side``, ``compare``, ``publish``, ``agreement``, ``offered``
what a run shows
    ``pages``, ``progress``, ``plainly``
in production
    ``deploy`` and ``forms``, ``events``, ``slots``, ``lost`` and ``stopped`` (runs that nobody
    ended in Prefect), ``prefect_server`` (how it is started on one host)
by files
    ``stages``, ``judging``, ``estimating``, ``report``, ``audit`` and ``terminal``
the command line
    ``cli`` and ``commands``
"""
