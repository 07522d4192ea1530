"""A page in the browser: slides, their nuclei, and jobs that find them. `nucseg view` starts it.

The server side. `library` says what a client may read, and `guard` who is a client. `displayed_slide` and
`deep_zoom` make tiles of slides; `open_slides` keeps slides open. `nuclei_sources` reads the files of a
result, `index_files` and `index_building` make an index of them on the disk, `nuclei_index` looks into it,
and `nuclei_answer` packs what it finds; `result_store` keeps indexes, and `result_facts` reads what a result
says of itself. `pixel_runs` has the pixels of an index's nuclei, `comparison` compares two, and
`comparison_store` keeps that. `truths` says whose a ground truth is, `truth_reading` and `label_parts` make
an index of it. `region_figures` counts within a region, `analysed_tissue` knows where tissue is, and
`density_overlay` draws the density map. `corrections` keeps what users have corrected, of the form of
`corrections_document`; `merged_outline` makes one nucleus of several, and `corrected_geojson` writes all for
training. `summary_page` is a result on one page, of `summary_pictures`, `area_histogram` and
`measurement_words`; `downloads` is what a client saves. `job_store` keeps jobs, `job_runner` does them by
`nucseg predict`, and `uploads` takes images. `…_routes` are the endpoints, `parameters` what they have in
common, `app` puts them together, and `serving` starts the server. `page/` has the files of the page.

docs/view_api.md lists the endpoints.
"""
