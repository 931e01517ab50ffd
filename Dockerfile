# calib.serve on a CPU, as a user without rights, with an API key:
#
#   docker build -t calib .
#   docker run --rm -p 127.0.0.1:8000:8000 -e CALIB_API_KEY=... calib method=reminder
#
# Without a key the container ends at once. See docs/deploying.md.
FROM python:3.11-slim AS build

# PyPI's torch for Linux is a build for CUDA, which takes gigabytes; this index has CPU builds.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python -m venv /opt/calib
COPY constraints.txt /source/
RUN /opt/calib/bin/pip install --no-cache-dir -c /source/constraints.txt \
        --index-url "$TORCH_INDEX" torch
COPY pyproject.toml README.md LICENSE /source/
COPY conf /source/conf
COPY calib /source/calib
RUN cd /source && /opt/calib/bin/pip install --no-cache-dir -c constraints.txt ".[serve]"


FROM python:3.11-slim

COPY --from=build /opt/calib /opt/calib
RUN useradd --create-home --uid 10001 calib
USER calib
WORKDIR /home/calib

ENV PATH=/opt/calib/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_DISABLE_TELEMETRY=1
EXPOSE 8000
HEALTHCHECK --start-period=120s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=10)"]
ENTRYPOINT ["python", "-m", "calib.serve", "host=0.0.0.0", "port=8000", "key_env=CALIB_API_KEY"]
CMD ["method=reminder"]
