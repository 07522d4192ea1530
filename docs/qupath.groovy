/*
 * QuPath 0.5 or 0.6: finds the nuclei of the open image in the selected annotations, and adds them as detections.
 *
 * Needs nucseg_jax on the same computer. docs/qupath.md says how to use it.
 */

// Where the command is. QuPath seldom knows the terminal's PATH: give all of it, as `which nucseg`
// (Windows: `where nucseg`) prints it.
def nucseg = "nucseg"

// More options of `nucseg predict`, such as ["--model", "he-fast"] or ["--mpp", "0.5"].
def options = []


def annotations = getSelectedObjects().findAll { it.isAnnotation() && it.getROI().isArea() }
if (annotations.isEmpty()) {
    println "Select one annotation or more, with an area, and run the script again."
    return
}
def uri = getCurrentServer().getURIs().find { it.getScheme() == "file" }
if (uri == null) {
    println "The open image is no file on this computer, so that nucseg cannot read it."
    return
}

def image = new File(uri)
def folder = java.nio.file.Files.createTempDirectory("nucseg").toFile()
try {
    def roi = new File(folder, "roi.geojson")
    exportObjectsToGeoJson(annotations, roi.getPath(), "FEATURE_COLLECTION")

    def out = new File(folder, "out")
    def command = [nucseg, "predict", image.getPath(), "--roi", roi.getPath(), "--out", out.getPath(),
                   "--formats=geojson"] + options
    println command.join(" ")
    def process = new ProcessBuilder(command*.toString()).redirectErrorStream(true).start()
    process.getInputStream().eachLine("UTF-8") { println it }
    if (process.waitFor() != 0) {
        println "nucseg has failed; what it says is above."
        return
    }

    // One image, one folder in it.
    def result = new File(out.listFiles().find { it.isDirectory() }, "nuclei.geojson")
    def before = getDetectionObjects().size()
    importObjectsFromFile(result.getPath())
    resolveHierarchy() // the nuclei become children of their annotations
    println "${getDetectionObjects().size() - before} nuclei were added."
} finally {
    folder.deleteDir()
}
