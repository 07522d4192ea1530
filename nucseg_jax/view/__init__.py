"""The page of `nucseg view`: slides, their nuclei and jobs in the browser of this machine alone.

`serving` starts the server; `guard` says who is a client, and `library` what a client may read; `app` puts
the endpoints together. The rooms:

* `slides/`: slides are opened, kept open, and cut into tiles.
* `nuclei/`: the files of a result become an index on the disk, which the page asks for nuclei.
* `truths/`: ground truths are listed and indexed as results are.
* `results/`: keeps indexes; tissue, density and figures of regions; what a result says of itself.
* `comparison/`: two results against each other.
* `corrections/`: what users correct is kept, and written for training.
* `summary/`: a result on one page, to save and print.
* `jobs/`: the queue, which `nucseg predict` works off, and uploads.
* `routes/`: the endpoints.

`page/` has the files of the page: plain JavaScript modules, which nothing builds. docs/view_api.md lists the
endpoints.
"""
