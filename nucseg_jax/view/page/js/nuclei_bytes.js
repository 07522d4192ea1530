// The server's bytes of nuclei (docs/view_api.md) as typed arrays, without a copy.

const MAGIC = 0x3143554e;

/**
 * Returns {outlines, count, touching, level, ids, values, centroids, ringStart, pointStart, points}; the last three
 * are null where the answer has centroids alone.
 */
export function readNuclei(buffer) {
  const [magic, kind, count, rings, pointCount, touching, level] = new Uint32Array(buffer, 0, 8);
  if (magic !== MAGIC) throw new Error("the server's answer is not one of nuclei");
  let offset = 32;
  const next = (Type, length) => {
    const array = new Type(buffer, offset, length);
    offset += 4 * length;
    return array;
  };
  const ids = next(Int32Array, count);
  const values = next(Float32Array, count);
  const centroids = next(Float32Array, 2 * count);
  const outlines = kind === 0;
  return {
    outlines,
    count,
    touching,
    level,
    ids,
    values,
    centroids,
    ringStart: outlines ? next(Uint32Array, count + 1) : null,
    pointStart: outlines ? next(Uint32Array, rings + 1) : null,
    points: outlines ? next(Float32Array, 2 * pointCount) : null,
  };
}
