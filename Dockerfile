# kvpilot itself; Envoy runs from its own image (docker-compose.yml) or is started by `kvpilot run` when installed with [envoy].
FROM python:3.11-slim
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY control_plane control_plane
COPY ext_proc ext_proc
COPY protos protos
COPY sim sim
COPY envoy envoy
RUN pip install --no-cache-dir -c constraints.txt '.[tokens]' && useradd --create-home kvpilot
USER kvpilot
ENTRYPOINT ["kvpilot"]
