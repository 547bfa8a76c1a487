{{- define "pgfox.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pgfox.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pgfox.labels" -}}
{{ include "pgfox.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pgfox.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "pgfox.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "pgfox.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- /* Checks that the schema cannot express. */ -}}
{{- define "pgfox.check" -}}
{{- $database := .Values.database -}}
{{- if not $database.existingSecret.name -}}
{{- fail "database.existingSecret.name: name the Secret that holds the connection string of the database" -}}
{{- end -}}
{{- if and $database.parts.enabled (not (or $database.parts.hostKey $database.parts.host)) -}}
{{- fail "database.parts: say where the database is, by hostKey or host" -}}
{{- end -}}
{{- if and $database.parts.enabled (not (or $database.parts.databaseKey $database.parts.database)) -}}
{{- fail "database.parts: name the database, by databaseKey or database" -}}
{{- end -}}
{{- if and .Values.apiKeys.existingSecret.name .Values.apiKeys.insecure -}}
{{- fail "apiKeys: either existingSecret or insecure" -}}
{{- end -}}
{{- if not (or .Values.apiKeys.existingSecret.name .Values.apiKeys.insecure) -}}
{{- fail "apiKeys.existingSecret.name: name the Secret that holds the keys of callers, or set apiKeys.insecure where a mesh or the network keeps strangers away" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling: minReplicas is above maxReplicas" -}}
{{- end -}}
{{- end -}}

{{- /* A value as the server reads it. Numbers of a values file are floats, and large ones would be 1e+06. */ -}}
{{- define "pgfox.plain" -}}
{{- kindIs "float64" . | ternary (int64 .) . -}}
{{- end -}}

{{- define "pgfox.secretVariable" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef: {name: {{ .secret.name | quote }}, key: {{ .secret.key | quote }}}
{{- end -}}

{{- /* Variables and files of the connection, for the servers and the migration. */ -}}
{{- define "pgfox.database.parameters" -}}
{{- $parameters := dict -}}
{{- with .Values.database.caSecret -}}
{{- if .name -}}
{{- $parameters = dict "sslmode" "verify-full" "sslrootcert" (printf "/etc/pgfox/database-ca/%s" .key) -}}
{{- end -}}
{{- end -}}
{{- merge (deepCopy .Values.database.parameters) $parameters | toJson -}}
{{- end -}}

{{- define "pgfox.database.env" -}}
{{- $secret := .Values.database.existingSecret -}}
{{- $direct := .Values.database.direct.existingSecret -}}
{{- $parts := .Values.database.parts -}}
{{- $parameters := include "pgfox.database.parameters" . | fromJson -}}
{{- $query := list -}}
{{- range $name, $value := $parameters -}}
{{- $query = append $query (printf "%s=%s" $name (include "pgfox.plain" $value)) -}}
{{- end -}}
{{- $query = join "&" $query -}}
{{- if $parts.enabled }}
{{- /* Kubernetes inserts the values. They are quoted, so only ' and \ could do harm, and no operator generates these. */}}
{{- $string := list }}
{{- range list (list "host" "HOST" $parts.hostKey $parts.host) (list "port" "PORT" $parts.portKey $parts.port) (list "dbname" "NAME" $parts.databaseKey $parts.database) (list "user" "USER" $parts.userKey "") (list "password" "PASSWORD" $parts.passwordKey "") }}
{{- $variable := printf "DATABASE_%s" (index . 1) }}
{{- if index . 2 }}
{{ include "pgfox.secretVariable" (dict "variable" $variable "secret" (dict "name" $secret.name "key" (index . 2))) }}
{{- $string = append $string (printf "%s='$(%s)'" (index . 0) $variable) }}
{{- else if index . 3 }}
{{- $string = append $string (printf "%s='%v'" (index . 0) (index . 3)) }}
{{- end }}
{{- end }}
{{- range $name, $value := $parameters }}
{{- $string = append $string (printf "%s='%s'" $name (include "pgfox.plain" $value)) }}
{{- end }}
- name: DATABASE_URL
  value: {{ join " " $string | quote }}
{{- else if $query }}
{{ include "pgfox.secretVariable" (dict "variable" "DATABASE_SECRET" "secret" $secret) }}
- name: DATABASE_URL
  value: {{ printf "$(DATABASE_SECRET)?%s" $query | quote }}
{{- else }}
{{ include "pgfox.secretVariable" (dict "variable" "DATABASE_URL" "secret" $secret) }}
{{- end }}
{{- if and $direct.name $query }}
{{ include "pgfox.secretVariable" (dict "variable" "DIRECT_DATABASE_SECRET" "secret" $direct) }}
- name: PGFOX_DIRECT_DATABASE_URL
  value: {{ printf "$(DIRECT_DATABASE_SECRET)?%s" $query | quote }}
{{- else if $direct.name }}
{{ include "pgfox.secretVariable" (dict "variable" "PGFOX_DIRECT_DATABASE_URL" "secret" $direct) }}
{{- end }}
{{- end -}}

{{- define "pgfox.settings" -}}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ include "pgfox.plain" $value | quote }}
{{- end }}
{{- end -}}

{{- define "pgfox.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "pgfox.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* probe: a call of grpc.health.v1. Kubernetes makes it only without TLS, so with TLS the program itself makes it. */ -}}
{{- define "pgfox.probe" -}}
{{- if .root.Values.tls.existingSecret.name -}}
exec: {command: [/usr/local/bin/pgfox-server, healthcheck, --service, {{ .service }}]}
timeoutSeconds: 6
{{- else -}}
grpc: {port: 50051, service: {{ .service }}}
timeoutSeconds: 5
{{- end }}
{{- end -}}

{{- define "pgfox.database.volume" -}}
{{- with .Values.database.caSecret -}}
- name: database-ca
  # Mounts only the certificate, because the Secret of an operator may also hold the private key of its CA.
  secret: {secretName: {{ .name | quote }}, defaultMode: 0440, items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]}
{{- end -}}
{{- end -}}
